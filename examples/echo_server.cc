// A worker in C++ whose method "echo" returns its one argument, whatever that is. It is
// decoded and encoded again, byte for byte as Python's pickle would write it.
//
// The argument's buffers lie in the caller's memory, where this process may only read: a
// result that holds them is copied once, into this process's pool, when it is sent. What a
// handler builds in the pool itself (Array, AllocateBuffer) is returned with no copy.
#include <pannier/pannier.h>

#include <string>

int main(int argc, char** argv) {
  pannier::Server server;
  server.DynamicMethod(
      "echo", [](pannier::codec::Document& arguments) -> pannier::StatusOr<pannier::codec::Value> {
        const pannier::codec::Value& root = arguments.root();
        if (!root.is(pannier::codec::Kind::kTuple) || root.size() != 1) {
          return pannier::MakeError(pannier::ErrorKind::kInvalidArgument,
                                    "echo() takes one argument");
        }
        return root.items()[0];
      });
  return pannier::WorkerMain(argc, argv, server);
}
