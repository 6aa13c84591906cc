// Reads the vectors that the scripts in golden/ write.
#pragma once

#include <gtest/gtest.h>

#include <fstream>
#include <sstream>
#include <string>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/str_split.h"
#include "pannier/base/buffer.h"

namespace pannier::codec {

struct GoldenVector {
  std::string name;
  std::string stream;
  std::vector<Buffer> buffers;
};

inline std::string FromBase64(const std::string& text) {
  std::string bytes;
  if (text == "-") return bytes;
  EXPECT_TRUE(absl::Base64Unescape(text, &bytes)) << text;
  return bytes;
}

// A line is a vector: name, stream, buffers; see golden/make_arrays.py.
inline std::vector<GoldenVector> ReadGoldenVectors(const std::string& file_name) {
  std::ifstream file(std::string(PANNIER_GOLDEN_DIR) + "/" + file_name);
  EXPECT_TRUE(file.is_open()) << file_name;
  std::vector<GoldenVector> vectors;
  for (std::string line; std::getline(file, line);) {
    const std::vector<std::string> words = absl::StrSplit(line, ' ');
    if (words.size() < 2) {
      ADD_FAILURE() << "no vector: " << line;
      continue;
    }
    GoldenVector vector{words[0], FromBase64(words[1]), {}};
    for (size_t i = 2; i < words.size(); ++i) {
      const bool readonly = words[i].starts_with('R') && words[i].size() % 4 != 0;
      const Buffer buffer = Buffer::CopyOf(AsBytes(FromBase64(words[i].substr(readonly ? 1 : 0))));
      vector.buffers.push_back(readonly ? buffer.AsReadonly() : buffer);
    }
    vectors.push_back(std::move(vector));
  }
  return vectors;
}

}  // namespace pannier::codec
