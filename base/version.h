// The version of the library, from the one place that states it: CMakeLists.txt.
#pragma once

namespace pannier {

// "major.minor.patch", static storage.
const char* Version();

}  // namespace pannier
