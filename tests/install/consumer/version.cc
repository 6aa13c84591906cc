// Succeeds if the library is of the version that is given as the argument, and if an
// error made inside it keeps its kind outside.
#include <pannier/pannier.h>

#include <iostream>
#include <string_view>

int main(int argc, char** argv) {
  const auto error = pannier::MakeError(pannier::ErrorKind::kClosed, "checked by the consumer");
  if (pannier::KindOf(error) != pannier::ErrorKind::kClosed) return 2;
  std::cout << "pannier " << pannier::Version() << '\n';
  return argc == 2 && std::string_view(argv[1]) == pannier::Version() ? 0 : 1;
}
