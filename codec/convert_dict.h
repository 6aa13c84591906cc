// Structs that stand for dicts with given keys, as JSON has them:
//
//   struct Point { double x = 0; double y = 0; std::optional<std::string> label; };
//
//   template <>
//   struct pannier::codec::PythonDict<Point> {
//     static constexpr auto kFields = std::tuple(Field("x", &Point::x), Field("y", &Point::y),
//                                                Field("label", &Point::label));
//   };
//
// Reading wants each field that is not a std::optional and passes over keys that the struct does
// not have. An empty std::optional is not written, and None is read as one.
//
// A struct that can contain itself says whether it looks into the Document, as for PythonClass.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <tuple>
#include <utility>

#include "pannier/codec/convert.h"
#include "pannier/codec/convert_fields.h"
#include "pannier/codec/convert_shapes.h"

namespace pannier::codec {

template <class T>
struct PythonDict;

template <class T>
requires requires { PythonDict<T>::kFields; }
struct Convert<T> {
  using Fields = std::remove_cvref_t<decltype(PythonDict<T>::kFields)>;
  static constexpr bool kBorrows = internal::FieldsBorrow<PythonDict<T>>(PythonDict<T>::kFields);
  static constexpr bool kDirect = internal::FieldsDirect<PythonDict<T>>(PythonDict<T>::kFields);

  static std::string Name() {
    std::string names;
    const auto add = [&](std::string_view name) {
      names += names.empty() ? "dict with " : ", ";
      names += name;
    };
    std::apply([&](const auto&... field) { (..., add(field.name)); }, PythonDict<T>::kFields);
    return names;
  }
  static bool ReadDirect(DirectReader& in, T* object) {
    return internal::ReadStructDirect(in, PythonDict<T>::kFields, object, [&](auto& fields) {
      return internal::ReadFieldDict(in, fields);
    });
  }
  static StatusOr<T> From(const Value& value, const Place& place) {
    const auto entries = DictEntries(value);
    if (!entries) return place.Expected(Name(), value);
    T object{};
    Status status;
    const auto read = [&](const auto& field) {
      if (status.ok()) status = Read(field, value, *entries, place, &object);
    };
    std::apply([&](const auto&... field) { (..., read(field)); }, PythonDict<T>::kFields);
    if (!status.ok()) return status;
    return object;
  }
  static Value To(const T& object, Builder& builder) {
    const Value dict = builder.document().NewDict();
    const auto write = [&]<class M>(const ClassField<T, M>& field) {
      const M& member = object.*field.member;
      if constexpr (internal::kIsOptional<M>) {
        if (!member) return;
      }
      builder.document().SetItem(dict, field.name, codec::To(member, builder));
    };
    std::apply([&](const auto&... field) { (..., write(field)); }, PythonDict<T>::kFields);
    return dict;
  }

 private:
  template <class M>
  static Status Read(const ClassField<T, M>& field, const Value& value,
                     std::span<const DictEntry> entries, const Place& place, T* object) {
    const Value* found = nullptr;
    if (value.is(Kind::kDict)) {
      found = value.Find(field.name);
    } else {
      for (const DictEntry& entry : entries) {
        if (entry.key.is(Kind::kStr) && entry.key.text() == field.name) found = &entry.value;
      }
    }
    if (found == nullptr) {
      if constexpr (internal::kIsOptional<M>) return absl::OkStatus();
      return place.Error("the dict has no key " + std::string(field.name));
    }
    PANNIER_ASSIGN_OR_RETURN(object->*field.member,
                             codec::From<M>(*found, place.Field(field.name)));
    return absl::OkStatus();
  }
};

}  // namespace pannier::codec
