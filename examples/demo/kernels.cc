#include "kernels.h"

#include <algorithm>
#include <cmath>
#include <vector>

namespace demo {
namespace {

// Rows of floats of which only the newest `capacity` are kept: row y takes the place
// of row y - capacity.
class RecentRows {
 public:
  RecentRows(size_t capacity, size_t length)
      : capacity_(capacity), length_(length), rows_(capacity * length) {}
  float* operator[](size_t y) { return rows_.data() + y % capacity_ * length_; }

 private:
  size_t capacity_;
  size_t length_;
  std::vector<float> rows_;
};

// Converts a row to floats in `out`, with `margin` more pixels on either side.
template <typename T>
void LoadRow(const T* row, Shape shape, size_t margin, float* out) {
  const size_t channels = shape.channels;
  const size_t length = shape.width * channels;
  float* middle = out + margin * channels;
  for (size_t i = 0; i < length; ++i) middle[i] = static_cast<float>(row[i]);
  for (size_t i = 0; i < margin * channels; ++i) {
    out[i] = middle[i % channels];
    middle[length + i] = middle[length - channels + i % channels];
  }
}

// The Gauss curve at -radius..radius, of sum 1; the radius is three deviations.
std::vector<float> GaussianWeights(float sigma) {
  const int radius = static_cast<int>(std::ceil(3 * sigma));
  std::vector<double> curve;
  double sum = 0;
  for (int i = -radius; i <= radius; ++i) {
    curve.push_back(i == 0 ? 1 : std::exp(-0.5 * i * i / (double{sigma} * sigma)));
    sum += curve.back();
  }
  std::vector<float> weights;
  for (const double value : curve) weights.push_back(static_cast<float>(value / sum));
  return weights;
}

// out[i] = 0; then out[i] += weight * in[i].
void Clear(float* out, size_t length) { std::fill_n(out, length, 0.0f); }
void AddScaled(float weight, const float* in, size_t length, float* out) {
  for (size_t i = 0; i < length; ++i) out[i] += weight * in[i];
}

// 0..255, rounded; NaN gives 0.
uint8_t ToByte(float value) {
  const float cut = value > 0 ? std::min(value, 255.0f) : 0.0f;
  return static_cast<uint8_t>(static_cast<int>(cut + 0.5f));
}

}  // namespace

template <typename T>
void Hillshade(const T* elevation, Shape shape, float cell, uint8_t* shade) {
  if (shape.size() == 0) return;
  const size_t height = shape.height;
  const size_t width = shape.width;
  // The direction to the light, as a unit vector (x east, y south, z up), times 255.
  const float sideways = 255 * -0.5f;
  const float upwards = 255 * std::sqrt(0.5f);
  const float scale = 1 / (8 * cell);

  RecentRows rows(3, width + 2);
  for (size_t y = 0, loaded = 0; y < height; ++y) {
    for (; loaded <= std::min(y + 1, height - 1); ++loaded) {
      LoadRow(elevation + loaded * width, shape, 1, rows[loaded]);
    }
    const float* above = rows[y == 0 ? 0 : y - 1];
    const float* here = rows[y];
    const float* below = rows[std::min(y + 1, height - 1)];
    uint8_t* out = shade + y * width;
    for (size_t x = 0; x < width; ++x) {
      const float west = above[x] + 2 * here[x] + below[x];
      const float east = above[x + 2] + 2 * here[x + 2] + below[x + 2];
      const float north = above[x] + 2 * above[x + 1] + above[x + 2];
      const float south = below[x] + 2 * below[x + 1] + below[x + 2];
      const float slope_x = (east - west) * scale;
      const float slope_y = (south - north) * scale;
      const float facing = upwards - sideways * (slope_x + slope_y);
      out[x] = ToByte(facing / std::sqrt(1 + slope_x * slope_x + slope_y * slope_y));
    }
  }
}

template void Hillshade(const int16_t*, Shape, float, uint8_t*);
template void Hillshade(const float*, Shape, float, uint8_t*);
template void Hillshade(const double*, Shape, float, uint8_t*);

void Edges(const uint8_t* image, Shape shape, float sigma, uint8_t* edges) {
  if (shape.size() == 0) return;
  const std::vector<float> weights = GaussianWeights(sigma);
  const size_t radius = weights.size() / 2;
  const size_t channels = shape.channels;
  const size_t length = shape.width * channels;  // of a row
  const size_t last = shape.height - 1;

  std::vector<float> source((shape.width + 2 * radius) * channels);
  RecentRows smooth(2 * radius + 1, length);            // blurred along the row
  RecentRows blurred(3, (shape.width + 2) * channels);  // and along the column; a margin of one
  std::vector<float> sum(length);
  for (size_t y = 0, smoothed = 0, done = 0; y <= last; ++y) {
    for (; done <= std::min(y + 1, last); ++done) {
      for (; smoothed <= std::min(done + radius, last); ++smoothed) {
        LoadRow(image + smoothed * length, shape, radius, source.data());
        Clear(smooth[smoothed], length);
        for (size_t k = 0; k < weights.size(); ++k) {
          AddScaled(weights[k], source.data() + k * channels, length, smooth[smoothed]);
        }
      }
      Clear(sum.data(), length);
      for (size_t k = 0; k < weights.size(); ++k) {
        const size_t row = done + k < radius ? 0 : std::min(done + k - radius, last);
        AddScaled(weights[k], smooth[row], length, sum.data());
      }
      LoadRow(sum.data(), shape, 1, blurred[done]);
    }
    const float* above = blurred[y == 0 ? 0 : y - 1];
    const float* here = blurred[y];
    const float* below = blurred[std::min(y + 1, last)];
    uint8_t* out = edges + y * length;
    for (size_t i = 0; i < length; ++i) {
      const size_t middle = i + channels;
      const size_t right = i + 2 * channels;
      const float west = above[i] + 2 * here[i] + below[i];
      const float east = above[right] + 2 * here[right] + below[right];
      const float north = above[i] + 2 * above[middle] + above[right];
      const float south = below[i] + 2 * below[middle] + below[right];
      const float across = east - west;
      const float down = south - north;
      out[i] = ToByte(std::sqrt(across * across + down * down));
    }
  }
}

}  // namespace demo
