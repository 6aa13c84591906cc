#include <pannier/pannier.h>

#include <algorithm>

int main(int argc, char** argv) {
  pannier::Server server;
  server.Method("scale", [](pannier::ArrayView<const float> x, float k) {
    auto y = pannier::Array<float>::LikeShape(x);  // lies in the pool: returned with no copy
    std::ranges::transform(x.flat(), y.flat().begin(), [k](float v) { return k * v; });
    return y;
  });
  return server.Run(argc > 1 ? argv[1] : "ipc:///tmp/calls.sock").ok() ? 0 : 1;
}
