// WorkerMain: the main function of a program that is a worker, one server of a pool that
// its parent process owns.
//
// The protocol between parent and worker is made of arguments and inherited descriptors:
//
//   --endpoint E    where to listen. Required.
//   --parent-fd N   the reading end of a pipe whose writing end the parent holds and never
//                   writes to. Its end of file means that the parent is gone: the worker
//                   stops, and if a handler still runs after five seconds, exits with 1.
//                   Without it the worker serves until a signal.
//   --ready-fd N    the worker writes the endpoint as bound and a newline to it, once it
//                   listens, and closes it.
//   --help          says all this.
//
// SIGTERM and SIGINT stop the worker after the handler that runs; a second one kills it.
// Standard output is never written to but for --help; errors go to standard error.
//
// Exit codes: 0 after a stop, 1 if serving failed, 2 if the arguments are wrong.
#pragma once

#include "pannier/rpc/server.h"

namespace pannier {

// Call it from main, once, with the methods of `server` named and before other threads
// use the server: return pannier::WorkerMain(argc, argv, server). It sets the
// dispositions of SIGTERM, SIGINT and SIGPIPE.
int WorkerMain(int argc, char** argv, Server& server);

}  // namespace pannier
