#include <pannier/pannier.h>

#include <iostream>

int main(int argc, char** argv) {
  auto client = pannier::Client::Connect(argc > 1 ? argv[1] : "ipc:///tmp/calls.sock");
  if (!client.ok()) return 1;
  auto x = pannier::Array<float>::Of(std::vector<float>{1, 2, 3});
  auto y = (*client)->Call<pannier::Array<float>>("scale", x, 2.0f);
  for (size_t i = 0; y.ok() && i < y->size(); ++i) std::cout << (*y)(i) << "\n";
  return y.ok() ? 0 : 1;
}
