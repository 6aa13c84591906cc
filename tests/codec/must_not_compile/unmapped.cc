// A type that nobody gave a mapping.
#include "pannier/codec/dumps.h"

struct Unmapped {};

bool HasNoMapping() { return pannier::codec::Dumps(std::vector<Unmapped>(1)).ok(); }
