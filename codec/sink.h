// Where an encoder puts its bytes when they should not gather in memory
// (EncodeOptions::sink).
#pragma once

#include <cstdio>
#include <functional>
#include <string>

#include "pannier/base/bytes.h"
#include "pannier/base/deadline.h"
#include "pannier/base/status.h"

namespace pannier::codec {

// Takes all of the bytes, which are good during the call, or says why not; that ends the
// encoding. Called on the encoding thread, as a rule once for each frame of 64 KiB and once at
// the end of a pickle.
using Sink = std::function<Status(ByteSpan bytes)>;

// Writes to a file descriptor, which stays the caller's. Interrupted and partial writes go on.
// Where a non-blocking one has no room, this waits until `deadline`; a blocking one waits as the
// kernel does. A pipe or socket without a reader raises SIGPIPE, unless the program ignores it.
// Errors: System, DeadlineExceeded.
Sink SinkToFd(int fd, Deadline deadline);
// Writes to a stdio stream, which stays the caller's; flushed by its owner. Errors: System.
Sink SinkToFile(std::FILE* file);
// Appends to `*text`, which must outlive the sink.
Sink SinkToString(std::string* text);

}  // namespace pannier::codec
