// A change of the argument would not reach the caller.
#include "pannier/rpc/server.h"

void Misuse(pannier::Server& server) {
  server.Method("clear", [](std::string& text) { text.clear(); });
}
