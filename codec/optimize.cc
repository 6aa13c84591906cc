#include "pannier/codec/optimize.h"

#include <algorithm>
#include <optional>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "absl/strings/str_cat.h"
#include "pannier/codec/arguments.h"
#include "pannier/codec/output.h"
#include "pannier/codec/token_text.h"
#include "pannier/codec/tokenizer.h"

namespace pannier::codec {
namespace {

using internal::Output;

// A piece of the pickle that may stay: opcodes as they stand, or a use of the memo.
struct Piece {
  enum class Kind : uint8_t { kCopy, kPut, kGet };
  Kind kind;
  Token token;
  std::string memo_key;
};

class Optimizer {
 public:
  explicit Optimizer(ByteSpan stream) : stream_(AsText(stream)), tokenizer_(stream, false) {}

  StatusOr<std::string> Run() {
    PANNIER_RETURN_IF_ERROR(Read());
    if (protocol_ > 5) {
      return MakeError(ErrorKind::kUnpickling,
                       absl::StrCat("pickle of protocol ", protocol_, ", the highest is 5"));
    }
    std::string out(header_);
    output_.Start(&out, protocol_ >= 4);
    for (const Piece& piece : pieces_) PANNIER_RETURN_IF_ERROR(Write(piece));
    output_.Commit();
    return out;
  }

 private:
  Status Fail(const Token& token, std::string_view what) {
    return internal::StreamError(token.offset, static_cast<uint8_t>(token.opcode()), what);
  }
  std::string_view TextOf(const Token& token) const {
    return stream_.substr(token.offset, token.end - token.offset);
  }

  Status Read() {
    Token token;
    while (tokenizer_.Next(&token)) {
      std::string key;
      if (token.info->arg == ArgKind::kDecimalLine) {
        if (const char* why = internal::ArgumentText(token, &key)) return Fail(token, why);
        key = internal::MemoKey(key);
      } else {
        key = absl::StrCat(token.number);
      }
      switch (token.opcode()) {
        case Opcode::kPut:
        case Opcode::kBinPut:
        case Opcode::kLongBinPut:
          written_.insert(key);
          pieces_.push_back({Piece::Kind::kPut, token, key});
          break;
        case Opcode::kMemoize: {
          const std::string index = absl::StrCat(written_.size());
          written_.insert(index);
          pieces_.push_back({Piece::Kind::kPut, token, index});
          break;
        }
        case Opcode::kGet:
        case Opcode::kBinGet:
        case Opcode::kLongBinGet:
          protocol_ = std::max<uint64_t>(protocol_, token.info->protocol);
          indices_.try_emplace(key);
          pieces_.push_back({Piece::Kind::kGet, token, key});
          break;
        case Opcode::kFrame:
          break;
        case Opcode::kProto:
          protocol_ = std::max(protocol_, token.number);
          if (token.offset == 0) {
            header_ = TextOf(token);
            break;
          }
          [[fallthrough]];
        default:
          pieces_.push_back({Piece::Kind::kCopy, token, {}});
      }
    }
    return tokenizer_.status();
  }

  Status Write(const Piece& piece) {
    if (piece.kind == Piece::Kind::kCopy) {
      const std::string_view text = TextOf(piece.token);
      if (text.size() > Output::kFrameTarget) {
        output_.Large({}, text);
      } else {
        output_.Boundary();
        output_.Bytes(text);
      }
      return absl::OkStatus();
    }
    const auto used = indices_.find(piece.memo_key);
    if (piece.kind == Piece::Kind::kPut) {
      if (used == indices_.end()) return absl::OkStatus();
      output_.Boundary();
      used->second = count_++;
      Put(*used->second);
      return absl::OkStatus();
    }
    if (!used->second) return Fail(piece.token, "a memo entry that was not written");
    output_.Boundary();
    Get(*used->second);
    return absl::OkStatus();
  }

  void Put(uint32_t index) {
    if (protocol_ >= 4) {
      output_.Op(Opcode::kMemoize);
    } else if (protocol_ == 0) {
      output_.Bytes(absl::StrCat("p", index, "\n"));
    } else if (index < 256) {
      output_.Op(Opcode::kBinPut, static_cast<uint8_t>(index));
    } else {
      output_.Op(Opcode::kLongBinPut, index);
    }
  }

  void Get(uint32_t index) {
    if (protocol_ == 0) {
      output_.Bytes(absl::StrCat("g", index, "\n"));
    } else if (index < 256) {
      output_.Op(Opcode::kBinGet, static_cast<uint8_t>(index));
    } else {
      output_.Op(Opcode::kLongBinGet, index);
    }
  }

  const std::string_view stream_;
  Tokenizer tokenizer_;
  std::string_view header_;
  uint64_t protocol_ = 0;
  std::vector<Piece> pieces_;
  absl::flat_hash_set<std::string> written_;
  // Entries that are read, and under which index they are written now.
  absl::flat_hash_map<std::string, std::optional<uint32_t>> indices_;
  uint32_t count_ = 0;
  Output output_;
};

}  // namespace

StatusOr<std::string> Optimize(ByteSpan stream) { return Optimizer(stream).Run(); }

}  // namespace pannier::codec
