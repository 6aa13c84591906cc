// All of Pannier for C++ programs. What a program names most is here; the rest is in
// <pannier/FOLDER/NAME.h>, a folder per layer (docs/architecture.md).
#pragma once

#include "pannier/base/buffer.h"
#include "pannier/base/deadline.h"
#include "pannier/base/status.h"
#include "pannier/base/version.h"
