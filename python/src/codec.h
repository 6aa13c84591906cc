// pannier._core.Document: a decoded pickle, as pannier/codec wraps it.
#pragma once

#include <cstdint>
#include <exception>
#include <string>
#include <string_view>

#include <nanobind/nanobind.h>

#include "absl/container/flat_hash_map.h"
#include "pannier/codec/decoder.h"
#include "pannier/codec/document.h"

namespace pannier::python {

// Made, used and destroyed under the GIL. Does not change once it is decoded.
struct PickleDocument {
  codec::Document document;  // holds the stream
  codec::DecodeResult result;
  uint64_t comparisons = 0;  // what decoding could spend on comparing keys; 0: the default
  // What the caller gave as buffers, by the owner that their Buffers have.
  struct Given {
    nanobind::object object;
    bool readonly;
  };
  absl::flat_hash_map<const BufferOwner*, Given> given;

  // What stands in Python for a Buffer of the document: the object that the caller gave, or a
  // memoryview of it that is read-only where the object is not.
  nanobind::object ObjectOf(const Buffer& buffer) const;
};

// `numbers` by their names, all of them.
codec::DecodeLimits LimitsOf(const nanobind::dict& numbers);

// How 8-bit strings are read, by names that pannier/codec/_document.py makes sure of; an empty one
// keeps them. What C++ does not know itself, Python's codecs do. Used under the GIL.
class Str8Codec {
 public:
  // Sets what in `*options` is about 8-bit strings. REQUIRES: outlives its use.
  Str8Codec(std::string encoding, std::string errors, codec::DecodeOptions* options);
  Str8Codec(const Str8Codec&) = delete;
  Str8Codec& operator=(const Str8Codec&) = delete;

  // Whether decoding may call Python, and so needs the GIL.
  bool calls_python() const { return calls_python_; }
  // What a codec raised, but UnicodeError, which is an error of the stream; after decoding.
  void Rethrow() const {
    if (raised_ != nullptr) std::rethrow_exception(raised_);
  }

 private:
  StatusOr<std::string> Decode(std::string_view bytes);

  const std::string encoding_;
  const std::string errors_;
  bool calls_python_ = false;
  std::exception_ptr raised_;
};

// Builtins for what a pickle spells as builtins, objects of `nodes` for the rest: a tuple of the
// classes Global, Reduce, NewObj, NewObjEx, Instance, Persistent, Extension, Part and Str8
// (pannier/codec/_nodes.py). What is one object in the pickle is one object there. Nothing is
// imported or called but these classes. Raises LimitExceeded for keys that cost too much to
// hash (key_cost.h).
nanobind::object ToPython(const PickleDocument& self, const nanobind::tuple& nodes);

// A pickle of the Document. Buffers are offered to `callback` as pickle.dumps does; None: they
// are written in band.
nanobind::bytes Encode(const PickleDocument& self, int protocol, const nanobind::object& callback,
                       bool fix_imports);

}  // namespace pannier::python
