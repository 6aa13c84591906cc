// What to unpickle the argument as is nowhere said.
#include "pannier/rpc/server.h"

void Misuse(pannier::Server& server) {
  server.Method("twice", [](auto x) { return 2 * x; });
}
