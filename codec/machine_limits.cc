// Why a machine stops before the end of a stream: its errors, and its limits.
#include <algorithm>
#include <limits>
#include <optional>
#include <string_view>

#include "absl/strings/str_cat.h"
#include "pannier/codec/machine.h"
#include "pannier/codec/position.h"

namespace pannier::codec::internal {
namespace {

// Opcodes between two looks at the limits; each makes at most kObjectsPerOpcode objects.
constexpr uint64_t kStep = 4096;
constexpr uint64_t kObjectsPerOpcode = 8;
constexpr uint64_t kMostObjects = std::numeric_limits<uint32_t>::max() - 1;

}  // namespace

bool Machine::Fail(std::string_view what) {
  status_ = StreamError(static_cast<size_t>(opcode_ - begin_), *opcode_, what);
  return false;
}

bool Machine::FailWith(const Status& status) {
  const auto offset = static_cast<size_t>(opcode_ - begin_);
  status_ = WithPosition(
      Annotate(status, absl::StrCat("pickle, byte ", offset, ", ", ToAbsl(InfoOf(*opcode_).name))),
      {offset, *opcode_});
  return false;
}

bool Machine::FailArgument(ArgError error) {
  status_ = ArgumentError(static_cast<size_t>(opcode_ - begin_), *opcode_, error, limit_ != end_);
  return false;
}

bool Machine::FailUnderflow() {
  return Fail(marks_.empty() ? "too few values on the stack"
                             : "a mark lies where a value is needed");
}

bool Machine::FailKey(KeyResult result, const Value& culprit) {
  if (result == KeyResult::kUnhashable) {
    return Fail(absl::StrCat("unhashable type: ", ToAbsl(KindName(culprit.kind()))));
  }
  return Limit(result == KeyResult::kTooMany ? "entries of one dict or set" : "comparisons of keys",
               options_.limits.comparisons);
}

bool Machine::Limit(std::string_view what, uint64_t limit) {
  const auto offset = static_cast<size_t>(opcode_ - begin_);
  status_ =
      WithPosition(MakeError(ErrorKind::kLimit,
                             absl::StrCat("pickle, byte ", offset, ": too many ", ToAbsl(what),
                                          limit != 0 ? absl::StrCat(" (limit ", limit, ")") : "")),
                   {offset, std::nullopt});
  return false;
}

bool Machine::CheckLimits(uint64_t* allowance) {
  opcodes_done_ += allowance_;
  const DecodeLimits& limits = options_.limits;
  const uint64_t objects = std::min(OrNone(limits.objects), kMostObjects - kObjectsPerOpcode);
  const uint64_t made = document_->next_id_ - 1;
  if (opcodes_done_ >= OrNone(limits.opcodes)) return Limit("opcodes", limits.opcodes);
  if (made > objects) return Limit("objects", objects);
  if (memo_.count() > OrNone(limits.memo_entries)) {
    return Limit("memo entries", limits.memo_entries);
  }
  if (arena_->used() > OrNone(limits.arena_bytes)) {
    return Limit("bytes of memory", limits.arena_bytes);
  }
  allowance_ = std::min({kStep, OrNone(limits.opcodes) - opcodes_done_,
                         std::max<uint64_t>(1, (objects - made) / kObjectsPerOpcode),
                         std::max<uint64_t>(1, OrNone(limits.memo_entries) - memo_.count())});
  *allowance = allowance_;
  return true;
}

}  // namespace pannier::codec::internal
