// The persistent ids of a pickle, without the objects: cPickle's `noload`.
#pragma once

#include <cstddef>
#include <vector>

#include "pannier/base/status.h"
#include "pannier/codec/decoder.h"
#include "pannier/codec/document.h"

namespace pannier::codec {

struct PersistentIds {
  Document document;       // what the ids lie in; texts are borrowed from the stream
  std::vector<Value> ids;  // in the order of the stream, each as often as it is mentioned
  size_t consumed = 0;     // bytes up to and with STOP
};

// Runs `stream` as Decode() does, but makes no lists, dicts, sets and calls: an id that holds
// one has a Handle in its place. Ids of scalars, texts and tuples, which is what they are, come
// whole. Of the options, persistent_load, classes and made are not used, and buffers need not
// be given. Errors: those of Decode(), but for unhashable keys, which nobody looks at.
StatusOr<PersistentIds> FindPersistentIds(ByteSpan stream, const DecodeOptions& options = {});

}  // namespace pannier::codec
