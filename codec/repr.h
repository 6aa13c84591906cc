// Values as text, as Python's repr() writes them where Python has such a thing.
#pragma once

#include <cstddef>
#include <string>

#include "pannier/codec/document.h"
#include "pannier/codec/value.h"

namespace pannier::codec {

struct ReprOptions {
  size_t max_bytes = 4096;  // then "..."; 0: unbounded
  size_t max_depth = 64;    // deeper containers are written as "[...]" and the like; 0: unbounded
};

// A container met again inside itself is written as "[...]", "{...}". Symbolic values:
// "Global('m', 'n')", "Reduce(callee, args)", with ".state(...)", ".append(...)" and so on for
// their parts, "Buffer(3)". Not recursive; shared containers are written each time, so set
// max_bytes for values from strangers.
std::string Repr(const Value& value, const ReprOptions& options = {});

}  // namespace pannier::codec
