// Several pickles, one after another, in one run of bytes: what a Pickler wrote that dumped
// again and again, or a file that was appended to.
#pragma once

#include <cstddef>
#include <utility>

#include "pannier/base/status.h"
#include "pannier/codec/decoder.h"
#include "pannier/codec/document.h"

namespace pannier::codec {

// Loads pickle by pickle. All values lie in one Document, and an object that one pickle refers
// to and an earlier one wrote is that object, as the memo is kept. Not thread-safe.
//
//   Unpickler unpickler(bytes);
//   while (!unpickler.at_end()) {
//     PANNIER_ASSIGN_OR_RETURN(const Value value, unpickler.Load());
class Unpickler {
 public:
  // `stream`, and what `options` points to, must outlive the Unpickler and its Document.
  explicit Unpickler(ByteSpan stream, DecodeOptions options = {})
      : stream_(stream), options_(std::move(options)) {}

  // The next pickle. DecodeOptions::buffers are taken in turn by all of them; limits hold for
  // each, but objects and arena_bytes for all together. Errors: Unpickling; Limit; those of
  // hooks. After an error the same one is returned for ever,
  // since nobody knows where the next pickle begins.
  StatusOr<Value> Load();

  // Whether no byte is left.
  bool at_end() const { return offset_ == stream_.size(); }
  // Bytes read so far.
  size_t offset() const { return offset_; }
  size_t buffers_used() const { return buffers_used_; }

  // What follows was written by another Pickler, or after a clear_memo(): Python appends such
  // pickles to files with pickle.dump(), and numbers of memo entries begin at 0 again.
  void ClearMemo() { decoder_.ClearMemo(); }

  Document& document() { return document_; }

 private:
  const ByteSpan stream_;
  DecodeOptions options_;
  Decoder decoder_;
  Document document_;
  size_t offset_ = 0;
  size_t buffers_used_ = 0;
  Status status_;
};

}  // namespace pannier::codec
