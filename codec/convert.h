// The seam between Values and C++ types. Convert<T> says how a T is read from a Value and how
// it is written as one; the types that come with pannier have theirs in convert_*.h, and a
// program specialises Convert for its own:
//
//   template <>
//   struct pannier::codec::Convert<Colour> {
//     static std::string Name() { return "colour"; }  // for messages: "expected colour, found"
//     static StatusOr<Colour> From(const Value& value, const Place& place) {
//       PANNIER_ASSIGN_OR_RETURN(auto rgb, (codec::From<std::array<uint8_t, 3>>(value, place)));
//       return Colour(rgb);
//     }
//     static Value To(const Colour& colour, Builder& builder) {
//       return codec::To(colour.rgb(), builder);
//     }
//   };
//
// A struct that stands for a Python class needs less: see convert_class.h. A type that is only
// read or only written needs only that function. Name() may be left out.
//
// Values come from strangers: From checks the kind of a Value before it reads it, and a From
// that copies charges what it copies to Place::Charge.
#pragma once

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "pannier/base/status.h"
#include "pannier/codec/document.h"
#include "pannier/codec/value.h"

namespace pannier::codec {

class Builder;
class Place;

// Not defined for types that have no mapping.
template <class T>
struct Convert;

struct ConvertOptions {
  static constexpr uint64_t kBaseBytes = uint64_t{1} << 30;
  // Most bytes that the results may hold: a small stream can share one object many times,
  // and a C++ value has a copy in each place. 0: 1 GiB, 8 times message_bytes, and a share of
  // the Document's size. kLimit beyond it.
  uint64_t max_bytes = 0;
  // Size of the stream, where it is known.
  uint64_t message_bytes = 0;
  // Nesting of the results, of types that contain themselves. kLimit beyond it.
  unsigned max_depth = 400;
};

// What one conversion of a whole Document keeps for all of its Places. Not thread-safe.
class Conversion {
 public:
  // `kind`: of the errors that say that a Value does not fit. The Document must outlive the
  // Conversion.
  Conversion(const Document& document, const ConvertOptions& options,
             ErrorKind kind = ErrorKind::kUnpickling);
  Conversion(const Conversion&) = delete;
  Conversion& operator=(const Conversion&) = delete;

 private:
  friend class Place;
  const Document& document_;
  const ErrorKind kind_;
  const uint64_t max_bytes_;
  const unsigned max_depth_;
  uint64_t bytes_left_;
  std::vector<bool> taken_;  // by buffer index
};

// Where a Value stands in its Document: `value["frames"][3].name`. Lives on the stack while
// what stands there is converted, and points to the Place around it.
class Place {
 public:
  // `root` names the whole in messages: "value"; it is not copied.
  Place(Conversion& conversion, std::string_view root) : conversion_(&conversion), text_(root) {}

  // "argument 3".
  static Place Argument(Conversion& conversion, size_t index) {
    Place place(conversion, "argument ");
    place.step_ = Step::kArgument;
    place.index_ = index;
    return place;
  }

  Place Item(size_t index) const { return Place(*this, Step::kItem, Value(), index, {}); }
  Place Key(const Value& key) const { return Place(*this, Step::kKey, key, 0, {}); }
  // A key of a dict or set as a value of its own.
  Place KeyItself(const Value& key) const { return Place(*this, Step::kKeyItself, key, 0, {}); }
  // `name` is not copied.
  Place Field(std::string_view name) const { return Place(*this, Step::kField, Value(), 0, name); }
  // This place, for an attempt whose error nobody reads: errors carry no text.
  Place Quiet() const;

  const Document& document() const { return conversion_->document_; }
  // "value["frames"][3]".
  std::string Path() const;

  // The Status for a Value that does not fit: "value[3]: expected int32, found str 'abc'".
  Status Expected(std::string_view expected, const Value& found) const;
  // The same for another reason: "value[3]: `what`".
  Status Error(std::string_view what) const;
  // A Status from elsewhere with this place before its text.
  Status Error(const Status& status) const;
  // Kind kLimit if the results hold more than ConvertOptions::max_bytes with these.
  Status Charge(uint64_t bytes) const {
    if (bytes > conversion_->bytes_left_) return TooManyBytes();
    conversion_->bytes_left_ -= bytes;
    return absl::OkStatus();
  }
  // True if this place is nested deeper than ConvertOptions::max_depth; TooDeep() says so.
  bool IsTooDeep() const { return depth_ > conversion_->max_depth_; }
  Status TooDeep() const;
  // True the first time that it is asked for this Buffer value's bytes: then an owning type
  // may have them to itself.
  bool Take(const Value& buffer) const;

 private:
  enum class Step : uint8_t { kRoot, kArgument, kItem, kKey, kKeyItself, kField, kQuiet };
  Place(const Place& parent, Step step, const Value& key, size_t index, std::string_view text)
      : conversion_(parent.conversion_),
        parent_(&parent),
        depth_(parent.depth_ + 1),
        step_(step),
        quiet_(parent.quiet_),
        index_(index),
        key_(key),
        text_(text) {}
  Status TooManyBytes() const;

  Conversion* conversion_;
  const Place* parent_ = nullptr;
  unsigned depth_ = 0;
  Step step_ = Step::kRoot;
  bool quiet_ = false;
  size_t index_ = 0;
  Value key_;
  std::string_view text_;
};

// What a Value is, in a Python programmer's words and bounded: "str 'abc'", "list of 3",
// "int 300", "what collections.OrderedDict makes", "an array".
std::string Describe(const Value& value);
// "numpy.ndarray", bounded likewise. REQUIRES: global.is(Kind::kGlobal).
std::string DottedName(const Value& global);

// Collects what To makes. Errors are kept, the first one wins, and what is built after it is
// never seen. Not thread-safe.
class Builder {
 public:
  // Builds for a stream of this protocol: buffers need 5.
  explicit Builder(Document& document, int protocol = 5)
      : document_(document), protocol_(protocol) {}
  Builder(const Builder&) = delete;
  Builder& operator=(const Builder&) = delete;

  // For the New... functions. What is given to a New...View function lives in the converted
  // object, which lives until the stream is written; what To makes up is copied by the others.
  Document& document() { return document_; }
  int protocol() const { return protocol_; }

  // Returns None, for `return builder.Fail(...)`. Kind kPickling for a text.
  Value Fail(Status status);
  Value Fail(std::string_view what);
  const Status& status() const { return status_; }

  // datetime.timezone.utc, one object in the whole Document, as it is in Python.
  Value Utc();

 private:
  Document& document_;
  const int protocol_;
  Status status_;
  Value utc_;  // None until it is asked for
};

// A Convert may have a FromPlain beside From, for the form in which nearly all of its values
// come: it says what From would, or nothing, and costs less. Long lists try it first.
template <class T>
concept HasPlainForm = requires(const Value& value) {
  { Convert<T>::FromPlain(value) } -> std::same_as<std::optional<T>>;
};

template <class T>
concept ReadableFromValue = requires(const Value& value, const Place& place) {
  { Convert<T>::From(value, place) } -> std::same_as<StatusOr<T>>;
};
template <class T>
concept WritableToValue = requires(const T& object, Builder& builder) {
  { Convert<std::remove_cvref_t<T>>::To(object, builder) } -> std::same_as<Value>;
};

// True for types that look into the Document (string_view, ByteSpan, Value) or have such a
// part: good only while the Document and its stream live.
template <class T>
inline constexpr bool kBorrowsDocument = [] {
  if constexpr (requires { Convert<T>::kBorrows; }) {
    return Convert<T>::kBorrows;
  } else {
    return false;
  }
}();

// "int32", "list of str": what Python must send for a T.
template <class T>
std::string NameOf() {
  if constexpr (requires { Convert<T>::Name(); }) {
    return Convert<T>::Name();
  } else {
    return "another type";
  }
}

// Reads the T that stands at `place`.
template <class T>
StatusOr<T> From(const Value& value, const Place& place) {
  static_assert(ReadableFromValue<T>,
                "pannier has no mapping from Python to this type: specialise "
                "pannier::codec::Convert for it (codec/convert.h)");
  if (place.IsTooDeep()) return place.TooDeep();
  return Convert<T>::From(value, place);
}

// Writes `object`. The Value may look into it.
template <class T>
Value To(const T& object, Builder& builder) {
  static_assert(WritableToValue<T>,
                "pannier has no mapping from this type to Python: specialise "
                "pannier::codec::Convert for it (codec/convert.h)");
  return Convert<std::remove_cvref_t<T>>::To(object, builder);
}

}  // namespace pannier::codec
