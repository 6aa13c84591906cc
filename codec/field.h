// Field("x", &Point::x): a field of a struct and its name in Python, as PythonClass, PythonDict
// and NumpyRecord list them.
#pragma once

#include <string_view>

namespace pannier::codec {

template <class T, class M>
struct ClassField {
  std::string_view name;
  M T::*member;
};
template <class T, class M>
constexpr ClassField<T, M> Field(std::string_view name, M T::*member) {
  return {name, member};
}

}  // namespace pannier::codec
