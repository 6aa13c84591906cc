// A message: one stream and its buffers, in the order in which the pickler gave them,
// and an envelope of a few bytes for the layer above. The transport reads none of it.
#pragma once

#include <span>
#include <vector>

#include "pannier/base/buffer.h"
#include "pannier/base/bytes.h"

namespace pannier {

// To send. Everything is borrowed until Send returns. A buffer that lies in a block of
// the connection's pool is leased and not copied, and must not be written to until its
// leases are home; any other is copied before Send returns.
struct OutgoingMessage {
  ByteSpan envelope = {};
  ByteSpan stream = {};
  std::span<const Buffer> buffers = {};
};

// Received. A buffer is writable where the sender's was (and private: a write is seen
// by nobody else) unless the connection is read-only. Each is handed back by itself,
// when its last copy dies, on any thread, also after the connection is closed.
struct Message {
  Buffer envelope;
  Buffer stream;
  std::vector<Buffer> buffers;
};

}  // namespace pannier
