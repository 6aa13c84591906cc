// The work of the demo: two image kernels, written plainly and on plain memory. The
// worker of the demo and the Python module for the other ways both call them, so that
// every way does the same work. demo.py checks their results against NumPy.
//
// Pixels lie row by row; a pixel's channels lie side by side. Beyond the edges, the
// nearest pixel counts. Inputs and outputs must not overlap. Any thread.
#pragma once

#include <cstddef>
#include <cstdint>

namespace demo {

struct Shape {
  size_t height = 0;
  size_t width = 0;
  size_t channels = 1;
  size_t size() const { return height * width * channels; }
};

// Shaded relief of an elevation model, lit from the north-west at 45 degrees: Horn's
// gradient, 0 in full shadow (and where an elevation is NaN), 255 facing the light.
// `cell` is the distance between neighbours in the unit of the elevations; > 0.
// One channel. T: int16_t, float, double.
template <typename T>
void Hillshade(const T* elevation, Shape shape, float cell, uint8_t* shade);

// Edges of an image, channel by channel: Gaussian blur of deviation `sigma` (0: none),
// then the length of the Sobel gradient, cut at 255. REQUIRES: 0 <= sigma <= kMaxSigma.
inline constexpr float kMaxSigma = 20;
void Edges(const uint8_t* image, Shape shape, float sigma, uint8_t* edges);

}  // namespace demo
