#include "pannier/codec/dis.h"

#include <algorithm>
#include <optional>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "pannier/codec/arguments.h"
#include "pannier/codec/token_text.h"
#include "pannier/codec/tokenizer.h"

namespace pannier::codec {
namespace {

constexpr size_t kRightmostColumn = 50;  // of a note that the next one stands below

class Disassembler {
 public:
  Disassembler(ByteSpan stream, const DisOptions& options, std::string* out)
      : tokenizer_(stream, false), options_(options), out_(out) {}

  Status Run() {
    Token token;
    int highest = -1;
    while (tokenizer_.Next(&token)) {
      PANNIER_RETURN_IF_ERROR(Line(token));
      highest = std::max<int>(highest, token.info->protocol);
    }
    PANNIER_RETURN_IF_ERROR(tokenizer_.status());
    absl::StrAppend(out_, "highest protocol among opcodes = ", highest, "\n");
    if (stack_.empty()) return absl::OkStatus();
    return MakeError(ErrorKind::kUnpickling,
                     absl::StrCat("pickle, byte ", tokenizer_.offset(), ": ", stack_.size(),
                                  " values are left on the stack after STOP"));
  }

 private:
  Status Fail(const Token& token, std::string_view what) {
    return internal::StreamError(token.offset, static_cast<uint8_t>(token.opcode()), what);
  }

  // Prints the line of `token`, and moves the stack as it would.
  Status Line(const Token& token) {
    const OpcodeInfo& info = *token.info;
    std::string argument;
    const bool has_argument = info.arg != ArgKind::kNone;
    if (has_argument) {
      if (const char* why = internal::ArgumentText(token, &argument)) return Fail(token, why);
    }
    const std::string offset = absl::StrFormat("%5d: ", token.offset);
    std::string line =
        absl::StrFormat("%-4s %s%s", internal::CodeText(info.code),
                        std::string(static_cast<size_t>(options_.indent) * marks_.size(), ' '),
                        std::string(info.name));
    size_t pops = info.pops;
    std::string note;
    std::string error;
    if (info.pops_mark || (info.code == Opcode::kPop && !stack_.empty() && IsMark(stack_.back()))) {
      if (!PopMark(info, &pops, &note, &error)) {
        return Fail(token, "its mark is no longer on the stack");
      }
    }
    std::optional<Pushes> fetched;
    UseMemo(info, argument, &note, &error, &fetched);

    if (has_argument || !note.empty()) {
      line.append(10 - std::min<size_t>(10, info.name.size()), ' ');
      if (has_argument) absl::StrAppend(&line, " ", argument);
      if (!note.empty()) absl::StrAppend(&line, " ", note);
    }
    if (options_.annotate != 0) Annotate(info, &line);
    if (options_.max_bytes != 0 &&
        out_->size() + offset.size() + line.size() >= options_.max_bytes) {
      return MakeError(ErrorKind::kLimit,
                       absl::StrCat("pickle, byte ", token.offset, ": the text is longer than ",
                                    options_.max_bytes, " bytes"));
    }
    absl::StrAppend(out_, offset, line, "\n");
    if (!error.empty()) return Fail(token, error);

    if (stack_.size() < pops) {
      return Fail(token, absl::StrCat("takes ", pops, " values from a stack of ", stack_.size()));
    }
    stack_.resize(stack_.size() - pops);
    if (info.pushed == Pushes::kMark) marks_.push_back(token.offset);
    for (int i = 0; i < info.pushes; ++i) stack_.push_back(fetched.value_or(info.pushed));
    return absl::OkStatus();
  }

  // Notes stand below one another as long as the lines are not much longer than that.
  void Annotate(const OpcodeInfo& info, std::string* line) {
    const auto length = static_cast<size_t>(
        std::ranges::count_if(*line, [](char c) { return (c & 0xc0) != 0x80; }));
    if (length < column_) line->append(column_ - length, ' ');
    column_ = std::max(column_, length);
    if (column_ > kRightmostColumn) column_ = FirstColumn();
    const auto code = static_cast<size_t>(info.code);
    absl::StrAppend(line, " ",
                    code < options_.notes.size() ? options_.notes[code] : std::string(info.name));
  }
  size_t FirstColumn() const { return static_cast<size_t>(std::max(0, options_.annotate)); }

  static bool IsMark(Pushes value) { return value == Pushes::kMark; }

  // Drops the topmost mark and what stands above. False if POP or DUP took the mark itself away.
  bool PopMark(const OpcodeInfo& info, size_t* pops, std::string* note, std::string* error) {
    if (marks_.empty()) {
      *error = *note = "no MARK exists on stack";
      return true;
    }
    *note = absl::StrCat("(MARK at ", marks_.back(), ")");
    marks_.pop_back();
    while (!stack_.empty() && !IsMark(stack_.back())) stack_.pop_back();
    if (stack_.empty()) return false;
    stack_.pop_back();
    if (info.code == Opcode::kPop) *pops = 0;
    return true;
  }

  void UseMemo(const OpcodeInfo& info, const std::string& argument, std::string* note,
               std::string* error, std::optional<Pushes>* fetched) {
    switch (info.code) {
      case Opcode::kPut:
      case Opcode::kBinPut:
      case Opcode::kLongBinPut:
      case Opcode::kMemoize: {
        std::string key = internal::MemoKey(argument);
        if (info.code == Opcode::kMemoize) {
          key = absl::StrCat(memo_.size());
          *note = absl::StrCat("(as ", key, ")");
        }
        if (memo_.contains(key)) {
          *error = absl::StrCat("memo index ", key, " was written before");
        } else if (stack_.empty()) {
          *error = "the stack is empty: nothing to put in the memo";
        } else if (IsMark(stack_.back())) {
          *error = "a mark cannot be put in the memo";
        } else {
          memo_[key] = stack_.back();
        }
        return;
      }
      case Opcode::kGet:
      case Opcode::kBinGet:
      case Opcode::kLongBinGet: {
        const auto found = memo_.find(internal::MemoKey(argument));
        if (found == memo_.end()) {
          *error = absl::StrCat("memo index ", argument, " was never written");
        } else {
          *fetched = found->second;
        }
        return;
      }
      default:
        return;
    }
  }

  Tokenizer tokenizer_;
  const DisOptions& options_;
  std::string* const out_;
  size_t column_ = FirstColumn();  // of the last note
  std::vector<Pushes> stack_;
  std::vector<size_t> marks_;  // offsets
  absl::flat_hash_map<std::string, Pushes> memo_;
};

}  // namespace

Status Dis(ByteSpan stream, const DisOptions& options, std::string* out) {
  return Disassembler(stream, options, out).Run();
}

}  // namespace pannier::codec
