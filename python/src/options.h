// Structs of the transport as Python dicts; connection.py and client.py make dataclasses of
// them.
#pragma once

#include <nanobind/nanobind.h>

#include "pannier/transport/connection.h"

namespace pannier::python {

nanobind::dict InfoDict(const ConnectionInfo& info);
nanobind::dict StatsDict(const ConnectionStats& stats);

}  // namespace pannier::python
