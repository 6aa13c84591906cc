// The kernels as a Python module, for the ways that work in Python processes. The same
// C++ as in the worker; the interpreter's lock is released while a kernel runs.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>

#include <stdexcept>

#include "kernels.h"

namespace nb = nanobind;

namespace {

template <typename T>
using Input = nb::ndarray<const T, nb::c_contig, nb::device::cpu>;
using Output = nb::ndarray<uint8_t, nb::c_contig, nb::device::cpu>;

template <typename Array>
demo::Shape ShapeOf(const Array& array) {
  if (array.ndim() < 2 || array.ndim() > 3) throw std::invalid_argument("two or three dimensions");
  return {array.shape(0), array.shape(1), array.ndim() == 3 ? array.shape(2) : 1};
}

// The result's memory is the caller's, as NumPy's allocator is better than a new one here.
void CheckOutput(size_t size, const Output& output) {
  if (output.size() != size) throw std::invalid_argument("`out` is not of the input's size");
}

template <typename T>
void BindHillshade(nb::module_& module) {
  module.def(
      "hillshade",
      [](const Input<T>& elevation, float cell, const Output& out) {
        const demo::Shape shape = ShapeOf(elevation);
        if (shape.channels != 1) throw std::invalid_argument("an elevation model has one channel");
        CheckOutput(shape.size(), out);
        const nb::gil_scoped_release unlocked;
        demo::Hillshade(elevation.data(), shape, cell, out.data());
      },
      nb::arg("elevation").noconvert(), nb::arg("cell"), nb::arg("out").noconvert());
}

}  // namespace

NB_MODULE(demo_kernels, module) {
  BindHillshade<int16_t>(module);
  BindHillshade<float>(module);
  BindHillshade<double>(module);
  module.def(
      "edges",
      [](const Input<uint8_t>& image, float sigma, const Output& out) {
        if (!(sigma >= 0 && sigma <= demo::kMaxSigma))
          throw std::invalid_argument("sigma: 0 to 20");
        CheckOutput(image.size(), out);
        const demo::Shape shape = ShapeOf(image);
        const nb::gil_scoped_release unlocked;
        demo::Edges(image.data(), shape, sigma, out.data());
      },
      nb::arg("image").noconvert(), nb::arg("sigma"), nb::arg("out").noconvert());
}
