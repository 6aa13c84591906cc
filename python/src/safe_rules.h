// How pickles use what is in the safe set: what each name may be called with.
#pragma once

#include <span>
#include <string_view>

#include "pannier/codec/value.h"

namespace pannier::python {

struct SafeRule {
  std::string_view module;
  std::string_view name;
  std::string_view arguments;  // alternatives, separated by '|'; a letter for each argument
  bool state = false;          // BUILD may follow
};

// The rule for calls of a Global; null if it may be a value and may not be called.
const SafeRule* SafeRuleFor(const codec::Value& callee);

// Whether `rule` allows these arguments.
bool FitsRule(const SafeRule& rule, std::span<const codec::Value> args);

}  // namespace pannier::python
