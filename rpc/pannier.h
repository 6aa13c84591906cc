// All of Pannier for C++ programs. What a program names most is here; the rest is in
// <pannier/FOLDER/NAME.h>, a folder per layer (docs/architecture.md).
#pragma once

#include "pannier/base/buffer.h"
#include "pannier/base/deadline.h"
#include "pannier/base/status.h"
#include "pannier/base/version.h"
#include "pannier/codec/dumps.h"
#include "pannier/codec/loads.h"
#include "pannier/rpc/client.h"
#include "pannier/rpc/remote_error.h"
#include "pannier/rpc/server.h"
#include "pannier/rpc/worker.h"
#include "pannier/rpc/worker_pool.h"
#include "pannier/shm/pool.h"
#include "pannier/transport/connection.h"
