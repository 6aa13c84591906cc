// The parts of the module pannier._core, each bound in the file of its name.
#pragma once

#include <nanobind/nanobind.h>

namespace pannier::python {

void BindCallStream(nanobind::module_& module);  // dumps_call
void BindClaims(nanobind::module_& module);      // Claims
void BindPool(nanobind::module_& module);        // Pool
void BindConnection(nanobind::module_& module);  // Options, Connection, Listener
void BindCaller(nanobind::module_& module);      // _Caller
void BindClient(nanobind::module_& module);      // Client, PendingCall, PendingStream, Receiver
void BindServer(nanobind::module_& module);      // CallContext, Failure, Server
void BindTrust(nanobind::module_& module);       // SafeNames
void BindPlain(nanobind::module_& module);       // is_plain
void BindCodec(nanobind::module_& module);       // Document, decode, dis, optimize, find_globals

}  // namespace pannier::python
