// A worker of the demo: the kernels as methods, arrays in and arrays out. What comes in lies
// in the client's memory and is read there; a result is built in this process's pool and is
// read there by the client. Run by demo.py; `demo_worker --help` says how.
#include <pannier/pannier.h>
#include <time.h>

#include <cstdint>
#include <string>
#include <tuple>
#include <variant>

#include "kernels.h"

namespace {

using pannier::Array;
using pannier::ArrayView;
using pannier::StatusOr;

// A result, and the processor seconds that its kernel took.
using Timed = std::tuple<Array<uint8_t>, double>;

double ThreadSeconds() {
  timespec time;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
  return static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec);
}

// The shape of an image whose rows follow each other in memory. Errors: InvalidArgument.
template <typename T>
StatusOr<demo::Shape> ImageShape(const ArrayView<const T>& image) {
  if ((image.rank() != 2 && image.rank() != 3) || !image.is_c()) {
    return pannier::MakeError(pannier::ErrorKind::kInvalidArgument,
                              "an image has two or three dimensions and lies in C order");
  }
  return demo::Shape{image.shape(0), image.shape(1), image.rank() == 3 ? image.shape(2) : 1};
}

// Runs `kernel(pixels, shape, result)` on memory for the result.
template <typename T, typename Kernel>
StatusOr<Timed> Run(const ArrayView<const T>& image, const Kernel& kernel) {
  PANNIER_ASSIGN_OR_RETURN(const demo::Shape shape, ImageShape(image));
  auto result = Array<uint8_t>::LikeShape(image);
  const double start = ThreadSeconds();
  kernel(image.data(), shape, result.data());
  const double seconds = ThreadSeconds() - start;
  return Timed(std::move(result), seconds);
}

using Elevation =
    std::variant<ArrayView<const int16_t>, ArrayView<const float>, ArrayView<const double>>;

StatusOr<Timed> Hillshade(const Elevation& elevation, float cell) {
  return std::visit(
      [cell](const auto& model) -> StatusOr<Timed> {
        if (model.rank() != 2 || !(cell > 0)) {
          return pannier::MakeError(
              pannier::ErrorKind::kInvalidArgument,
              "an elevation model has two dimensions, and cells of a size above 0");
        }
        return Run(model, [cell](const auto* pixels, demo::Shape shape, uint8_t* shade) {
          demo::Hillshade(pixels, shape, cell, shade);
        });
      },
      elevation);
}

StatusOr<Timed> Edges(const ArrayView<const uint8_t>& image, float sigma) {
  if (!(sigma >= 0 && sigma <= demo::kMaxSigma)) {
    return pannier::MakeError(pannier::ErrorKind::kInvalidArgument,
                              "sigma is " + std::to_string(sigma) + "; it must be 0 to " +
                                  std::to_string(demo::kMaxSigma));
  }
  return Run(image, [sigma](const uint8_t* pixels, demo::Shape shape, uint8_t* edges) {
    demo::Edges(pixels, shape, sigma, edges);
  });
}

// Of this process's pool: bytes that were copied into it by sends since the start, and
// leases that are out now.
std::tuple<uint64_t, uint64_t> PoolStatistics() {
  const pannier::PoolStats stats = pannier::Pool::Default()->Stats();
  uint64_t leases = 0;
  for (const pannier::PeerLeases& peer : stats.peers) leases += peer.leases;
  return {stats.copied_bytes, leases};
}

}  // namespace

int main(int argc, char** argv) {
  pannier::Server server;
  server.Method("hillshade", Hillshade);
  server.Method("edges", Edges);
  server.Method("pool_stats", PoolStatistics);
  return pannier::WorkerMain(argc, argv, server);
}
