// Structs that stand for Python classes. A struct is described once, by its fields:
//
//   struct Point { double x = 0; double y = 0; std::optional<std::string> label; };
//
//   template <>
//   struct pannier::codec::PythonClass<Point> {
//     static constexpr std::string_view kModule = "geometry";
//     static constexpr std::string_view kName = "Point";  // qualified: "Outer.Point"
//     static constexpr auto kFields = std::tuple(Field("x", &Point::x), Field("y", &Point::y),
//                                                Field("label", &Point::label));
//     static constexpr ClassState kState = ClassState::kDict;  // the default
//   };
//
// and is then read from a pickled instance of geometry.Point in any of the forms that
// ClassState lists, and written in the one that it names. Reading wants each field that is not
// a std::optional and passes over attributes that the struct does not have. Methods of the
// class, __init__ among them, run on neither side: that is what unpickling means.
//
// A struct that can contain itself (a std::vector<Node> in a Node) adds to its PythonClass
// whether it looks into the Document: `static constexpr bool kBorrows = false;`.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <tuple>
#include <type_traits>
#include <utility>

#include "pannier/codec/convert.h"
#include "pannier/codec/convert_fields.h"

namespace pannier::codec {

enum class ClassState : uint8_t {
  kDict,       // plain classes and dataclasses: {"x": 1.0, ...}
  kSlots,      // classes with __slots__: (None, {"x": 1.0, ...})
  kList,       // frozen dataclasses with slots=True: [1.0, ...], in the order of the fields
  kArguments,  // named tuples and classes with __getnewargs__: Point.__new__(Point, 1.0, ...)
};

template <class T>
struct PythonClass;

namespace internal {

// The attributes of a pickled instance, in whichever form.
class Attributes {
 public:
  // `count`: the number of fields. Errors: the place's, if `value` is no instance of the
  // class, or in a form that none of ClassState is.
  static StatusOr<Attributes> Of(const Value& value, std::string_view module, std::string_view name,
                                 size_t count, const Place& place);
  // The attribute of that name, or in that position; null if there is none.
  const Value* Find(std::string_view name, size_t position) const;

 private:
  Value dicts_[2];  // None if there is none; the second is that of the slots
  std::optional<std::span<const Value>> list_;
};

Value NewInstanceOf(std::string_view module, std::string_view name, ClassState state,
                    std::span<const std::pair<std::string_view, Value>> fields, Builder& builder);

}  // namespace internal

template <class T>
requires requires { PythonClass<T>::kFields; }
struct Convert<T> {
  using Class = PythonClass<T>;
  static constexpr size_t kCount = std::tuple_size_v<std::remove_cvref_t<decltype(Class::kFields)>>;
  static constexpr bool kBorrows = internal::FieldsBorrow<Class>(Class::kFields);
  static constexpr bool kDirect = internal::FieldsDirect<Class>(Class::kFields);

  static std::string Name() {
    return std::string(Class::kModule) + "." + std::string(Class::kName);
  }
  static bool ReadDirect(DirectReader& in, T* object) {
    return internal::ReadStructDirect(in, Class::kFields, object, [&](auto& fields) {
      return internal::ReadFieldInstance(in, Class::kModule, Class::kName, fields);
    });
  }
  static StatusOr<T> From(const Value& value, const Place& place) {
    PANNIER_ASSIGN_OR_RETURN(
        const internal::Attributes attributes,
        internal::Attributes::Of(value, Class::kModule, Class::kName, kCount, place));
    T object{};
    Status status;
    size_t position = 0;
    const auto read = [&](const auto& field) {
      if (status.ok()) status = Read(field, position++, attributes, place, &object);
    };
    std::apply([&](const auto&... field) { (..., read(field)); }, Class::kFields);
    if (!status.ok()) return status;
    return object;
  }
  static Value To(const T& object, Builder& builder) {
    ClassState state = ClassState::kDict;
    if constexpr (requires { Class::kState; }) state = Class::kState;
    const auto write = [&](const auto&... field) {
      const std::pair<std::string_view, Value> fields[] = {
          {field.name, codec::To(object.*field.member, builder)}...};
      return internal::NewInstanceOf(Class::kModule, Class::kName, state, fields, builder);
    };
    return std::apply(write, Class::kFields);
  }

 private:
  template <class M>
  static Status Read(const ClassField<T, M>& field, size_t position,
                     const internal::Attributes& attributes, const Place& place, T* object) {
    const Value* found = attributes.Find(field.name, position);
    if (found == nullptr) {
      if constexpr (internal::kIsOptional<M>) return absl::OkStatus();
      return place.Error("the " + Name() + " has no attribute " + std::string(field.name));
    }
    PANNIER_ASSIGN_OR_RETURN(object->*field.member,
                             codec::From<M>(*found, place.Field(field.name)));
    return absl::OkStatus();
  }
};

}  // namespace pannier::codec
