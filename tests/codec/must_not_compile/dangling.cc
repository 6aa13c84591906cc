// A result that looks into the Document, which ends with Loads.
#include <map>

#include "pannier/codec/loads.h"

bool Dangles(pannier::ByteSpan stream) {
  return pannier::codec::Loads<std::map<int, std::vector<std::string_view>>>(stream).ok();
}
