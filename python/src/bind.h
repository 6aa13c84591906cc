// The parts of the module pannier._core, each bound in the file of its name.
#pragma once

#include <nanobind/nanobind.h>

namespace pannier::python {

void BindPool(nanobind::module_& module);        // PoolStats as a dict, Pool
void BindConnection(nanobind::module_& module);  // Options, Connection, Listener
void BindClient(nanobind::module_& module);      // Client
void BindServer(nanobind::module_& module);      // Failure, Server

}  // namespace pannier::python
