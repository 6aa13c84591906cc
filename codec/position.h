// Where in a stream an error lies. An Unpickling error carries it beside the text that says so.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>

#include "pannier/base/status.h"

namespace pannier::codec {

struct StreamPosition {
  size_t offset = 0;              // bytes before it
  std::optional<uint8_t> opcode;  // the byte there, if it is an opcode
};

// `status` with a position; one that it has already is replaced. REQUIRES: !status.ok().
Status WithPosition(Status status, const StreamPosition& position);

// The position of a Status that the codec made of a stream; nothing for others.
std::optional<StreamPosition> PositionOf(const Status& status);

}  // namespace pannier::codec
