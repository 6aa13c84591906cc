// Arguments of opcodes as pickletools reads and shows them.
#pragma once

#include <string>

#include "pannier/codec/tokenizer.h"

namespace pannier::codec::internal {

// The opcode's byte: "(", "\x94".
std::string CodeText(Opcode code);

// Python's repr() of the argument that pickletools' readers make, in *text. Returns null, or
// why the argument does not read. Also an argument that pickle itself would take may not:
// pickletools decodes lines as ASCII, and integers without a base.
const char* ArgumentText(const Token& token, std::string* text);

// A memo index as a key: False and True are 0 and 1.
std::string MemoKey(const std::string& argument_text);

}  // namespace pannier::codec::internal
