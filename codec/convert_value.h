// Anything: a Value looks into the Document that it stands in, a Document is a copy of its own.
#pragma once

#include <string>

#include "pannier/codec/convert.h"

namespace pannier::codec {

// Written only into the Document that it belongs to; wrap it in its Document otherwise.
template <>
struct Convert<Value> {
  static constexpr bool kBorrows = true;
  static std::string Name() { return "any value"; }
  static StatusOr<Value> From(const Value& value, const Place&) { return value; }
  static Value To(const Value& value, Builder&) { return value; }
};

template <>
struct Convert<Document> {
  static std::string Name() { return "any value"; }
  static StatusOr<Document> From(const Value& value, const Place& place) {
    Document copy;
    copy.set_root(copy.CopyFrom(place.document(), value));
    PANNIER_RETURN_IF_ERROR(place.Charge(copy.capacity()));
    return copy;
  }
  static Value To(const Document& document, Builder& builder) {
    return builder.document().CopyFrom(document, document.root());
  }
};

}  // namespace pannier::codec
