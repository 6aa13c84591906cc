#include "pannier/base/version.h"

#include "pannier/base_version.h"

namespace pannier {

const char* Version() { return PANNIER_VERSION; }

}  // namespace pannier
