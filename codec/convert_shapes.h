// One Python object, many spellings: what a value is written as depends on the protocol and
// the Python that wrote it. These functions see through the spellings, for the conversions.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

#include "pannier/base/buffer.h"
#include "pannier/codec/convert.h"

namespace pannier::codec {

// True for the builtin of that name, in Python 3's module or Python 2's.
bool IsBuiltin(const Value& value, std::string_view name);

// True for the function of that name of copyreg, Python 2's copy_reg.
bool IsCopyreg(const Value& value, std::string_view name);

// The argument tuple of Reduce, NewObj and Instance; nothing if a stream computes it, or if
// there are keyword arguments.
std::optional<std::span<const Value>> ArgumentsOf(const Value& object);

// bytes, bytearray, a PickleBuffer, 8-bit str, and the calls that protocols 0 to 4 write for
// the first two, and pannier in Python for long ones: bytes(buffer). The Buffer of a bytes that
// lies in the Document or its stream is a view of it (borrowed); that of an out-of-band one holds
// it.
struct BytesLike {
  Buffer bytes;
  bool borrowed = false;      // good only while the Document and its stream live
  bool mutable_type = false;  // bytearray, or a writable buffer
  bool out_of_band = false;
};
std::optional<BytesLike> BytesLikeOf(const Value& value, const Document& document);

// The same for what is bytes by its nature, a date's fields or an array's elements: Python 2
// wrote them as str, which is text here if it was decoded as Latin-1.
std::optional<BytesLike> OldBytesOf(const Value& value, const Document& document);

// The elements of a list, tuple or deque.
std::optional<std::span<const Value>> SequenceItems(const Value& value);
// The elements of a set or frozenset; some may be there twice.
std::optional<std::span<const Value>> SetItems(const Value& value);
// The entries of a dict, OrderedDict, defaultdict or Counter; of equal keys the last counts.
std::optional<std::span<const DictEntry>> DictEntries(const Value& value);

}  // namespace pannier::codec
