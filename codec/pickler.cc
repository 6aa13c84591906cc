// Scalars, texts and the memo; and the loop over the tasks.
#include "pannier/codec/pickler.h"

#include <bit>
#include <utility>

#include "absl/strings/str_cat.h"
#include "pannier/codec/escapes.h"
#include "pannier/codec/numerals.h"
#include "pannier/codec/utf8.h"

namespace pannier::codec::internal {
namespace {

constexpr uint64_t kMax32 = 0xffffffff;

// The opcode and length before counted bytes.
class Header {
 public:
  template <typename T>
  static Header Of(Opcode opcode, uint64_t size) {
    Header header;
    header.bytes_[0] = static_cast<char>(opcode);
    const T number = static_cast<T>(size);
    std::memcpy(header.bytes_ + 1, &number, sizeof(T));
    header.size_ = 1 + sizeof(T);
    return header;
  }
  std::string_view view() const { return {bytes_, size_}; }

 private:
  char bytes_[9];
  size_t size_ = 0;
};

}  // namespace

Pickler::Pickler(const Document& document, const EncodeOptions& options, PicklerMemory* memory,
                 Encoded* out)
    : document_(document),
      options_(options),
      protocol_(options.protocol),
      asks_for_ids_(options.persistent_id != nullptr),
      reduces_(options.reducer_override != nullptr || options.dispatch != nullptr),
      tasks_(memory->tasks),
      output_(memory->output),
      memo_(memory->memo),
      extra_(memory->extra),
      out_(out) {}

bool Pickler::Fail(std::string_view what) {
  return FailWith(MakeError(ErrorKind::kPickling, absl::StrCat("cannot pickle: ", ToAbsl(what))));
}

Status Pickler::Dump(const Value& value) {
  tasks_.clear();
  memo_.Reserve(document_.id_limit());
  if (options_.fast) open_.assign(document_.id_limit(), false);
  if (protocol_ >= 2) {
    out_->stream.push_back(static_cast<char>(Opcode::kProto));
    out_->stream.push_back(static_cast<char>(protocol_));
  }
  output_.Start(&out_->stream, protocol_ >= 4, options_.sink ? &options_.sink : nullptr);
  if (!Save(value) || !Run()) return status_;
  output_.Op(Opcode::kStop);
  output_.Commit();
  if (options_.max_stream_bytes != 0 && output_.size() > options_.max_stream_bytes) {
    return MakeError(ErrorKind::kLimit,
                     absl::StrCat("a pickle of more than ", options_.max_stream_bytes, " bytes"));
  }
  return output_.sink_status();
}

bool Pickler::Run() {
  const uint64_t most = options_.max_stream_bytes;
  while (!tasks_.empty()) {
    if (!Step()) return false;
    if (most != 0 && output_.size() > most) {
      status_ =
          MakeError(ErrorKind::kLimit, absl::StrCat("a pickle of more than ", most, " bytes"));
      return false;
    }
    if (!output_.sink_status().ok()) [[unlikely]] {
      status_ = output_.sink_status();
      return false;
    }
  }
  return true;
}

bool Pickler::MemoPut(const Value& value) {
  if (options_.fast) return true;
  const uint64_t index = memo_.count();
  if (index >= kMax32) return Fail("more than 2^32 objects");
  if (value.id() != 0) memo_.Set(value.id(), static_cast<uint32_t>(index + 1));
  memo_.Count();
  if (protocol_ >= 4) {
    output_.Op(Opcode::kMemoize);
  } else if (!binary()) {
    output_.Bytes(absl::StrCat("p", index, "\n"));
  } else if (index < 256) {
    output_.Op(Opcode::kBinPut, static_cast<uint8_t>(index));
  } else {
    output_.Op(Opcode::kLongBinPut, static_cast<uint32_t>(index));
  }
  return true;
}

void Pickler::MemoGet(const Value& value) {
  const uint32_t index = memo_.Get(value.id()) - 1;
  if (!binary()) {
    output_.Bytes(absl::StrCat("g", index, "\n"));
  } else if (index < 256) {
    output_.Op(Opcode::kBinGet, static_cast<uint8_t>(index));
  } else {
    output_.Op(Opcode::kLongBinGet, index);
  }
}

bool Pickler::Save(const Value& value) {
  if (asks_for_ids_) [[unlikely]] {
    bool done = false;
    if (!AskForId(value, &done)) return false;
    if (done) return true;
  }
  return SaveValue(value);
}

bool Pickler::SaveValue(const Value& value) {
  output_.Boundary();
  switch (value.kind()) {
    case Kind::kNone:
      output_.Op(Opcode::kNone);
      return true;
    case Kind::kBool:
      if (protocol_ >= 2) {
        output_.Op(value.bool_value() ? Opcode::kNewTrue : Opcode::kNewFalse);
      } else {
        output_.Bytes(value.bool_value() ? "I01\n" : "I00\n");
      }
      return true;
    case Kind::kInt:
      SaveInt(value.int_value());
      return true;
    case Kind::kBigInt:
      return SaveBigInt(value);
    case Kind::kFloat:
      SaveFloat(value.float_value());
      return true;
    default:
      break;
  }
  if (InMemo(value)) {
    MemoGet(value);
    return true;
  }
  return value.is(Kind::kStr) ? SaveStr(value) : SaveObject(value);
}

void Pickler::SaveInt(int64_t value) {
  if (value == static_cast<int32_t>(value)) {
    if (!binary()) {
      output_.Bytes(absl::StrCat("I", value, "\n"));
    } else if (value == static_cast<uint8_t>(value)) {
      output_.Op(Opcode::kBinInt1, static_cast<uint8_t>(value));
    } else if (value == static_cast<uint16_t>(value)) {
      output_.Op(Opcode::kBinInt2, static_cast<uint16_t>(value));
    } else {
      output_.Op(Opcode::kBinInt, static_cast<int32_t>(value));
    }
    return;
  }
  if (protocol_ < 2) {
    output_.Bytes(absl::StrCat("L", value, "L\n"));
    return;
  }
  // Two's complement with a bit for the sign.
  const uint64_t magnitude = static_cast<uint64_t>(value < 0 ? ~value : value);
  const auto size = static_cast<uint8_t>(std::bit_width(magnitude) / 8 + 1);
  char* at = output_.Reserve(2 + sizeof(value));
  at[0] = static_cast<char>(Opcode::kLong1);
  at[1] = static_cast<char>(size);
  std::memcpy(at + 2, &value, sizeof(value));
  output_.Advance(at + 2 + size);
}

bool Pickler::SaveBigInt(const Value& value) {
  const std::string_view bytes = value.text();
  if (protocol_ < 2) {
    const auto digits = FormatInteger(bytes);
    if (!digits) return Fail("an integer of more than 4300 digits, in protocol 0 or 1");
    output_.Bytes(absl::StrCat("L", *digits, "L\n"));
    return true;
  }
  if (bytes.size() > 0x7fffffff) return Fail("an integer of more than 2^31 bytes");
  if (bytes.size() < 256) {
    output_.Op(Opcode::kLong1, static_cast<uint8_t>(bytes.size()));
  } else {
    output_.Op(Opcode::kLong4, static_cast<uint32_t>(bytes.size()));
  }
  output_.Bytes(bytes);
  return true;
}

void Pickler::SaveFloat(double value) {
  if (binary()) {
    output_.Op(Opcode::kBinFloat, __builtin_bswap64(std::bit_cast<uint64_t>(value)));
  } else {
    output_.Bytes(absl::StrCat("F", FormatFloat(value), "\n"));
  }
}

bool Pickler::Counted(std::string_view header, std::string_view bytes) {
  if (bytes.size() >= Output::kFrameTarget) {
    output_.Large(header, bytes);
    return true;
  }
  char* at = output_.Reserve(header.size() + bytes.size());
  std::memcpy(at, header.data(), header.size());
  if (!bytes.empty()) std::memcpy(at + header.size(), bytes.data(), bytes.size());
  output_.Advance(at + header.size() + bytes.size());
  return true;
}

bool Pickler::SaveStr(const Value& value) {
  const std::string_view text = value.text();
  if (!memo_.Knows(value.id())) return Fail("a value of another document");
  if ((document_.has_unchecked_text() || extra_.has_unchecked_text()) && !ValidUtf8(text)) {
    return Fail(absl::StrCat("a str that is not UTF-8 from byte ", Utf8ErrorOffset(text, true)));
  }
  if (text.size() <= 0xff && protocol_ >= 4) {
    char* at = output_.Reserve(3 + text.size());
    at[0] = static_cast<char>(Opcode::kShortBinUnicode);
    at[1] = static_cast<char>(text.size());
    if (!text.empty()) std::memcpy(at + 2, text.data(), text.size());
    output_.Advance(at + 2 + text.size());
  } else if (!binary()) {
    std::string line = "V";
    AppendRawUnicodeEscape(text, &line);
    line.push_back('\n');
    output_.Bytes(line);
  } else if (text.size() <= kMax32) {
    Counted(Header::Of<uint32_t>(Opcode::kBinUnicode, text.size()).view(), text);
  } else if (protocol_ >= 4) {
    Counted(Header::Of<uint64_t>(Opcode::kBinUnicode8, text.size()).view(), text);
  } else {
    return Fail("a str of more than 4 GiB needs protocol 4");
  }
  return MemoPut(value);
}

bool Pickler::SaveStr8(const Value& value) {
  const std::string_view bytes = value.text();
  if (!binary()) {
    std::string line = "S";
    AppendStringLiteral(bytes, &line);
    line.push_back('\n');
    output_.Bytes(line);
  } else if (bytes.size() <= 0xff) {
    Counted(Header::Of<uint8_t>(Opcode::kShortBinString, bytes.size()).view(), bytes);
  } else if (bytes.size() <= 0x7fffffff) {
    Counted(Header::Of<uint32_t>(Opcode::kBinString, bytes.size()).view(), bytes);
  } else {
    return Fail("an 8-bit str of more than 2 GiB");
  }
  return MemoPut(value);
}

bool Pickler::SaveBytesData(const Value& value, std::string_view bytes) {
  if (bytes.size() <= 0xff) {
    Counted(Header::Of<uint8_t>(Opcode::kShortBinBytes, bytes.size()).view(), bytes);
  } else if (bytes.size() <= kMax32) {
    Counted(Header::Of<uint32_t>(Opcode::kBinBytes, bytes.size()).view(), bytes);
  } else if (protocol_ >= 4) {
    Counted(Header::Of<uint64_t>(Opcode::kBinBytes8, bytes.size()).view(), bytes);
  } else {
    return Fail("bytes of more than 4 GiB need protocol 4");
  }
  return MemoPut(value);
}

bool Pickler::SaveByteArrayData(const Value& value, std::string_view bytes) {
  Counted(Header::Of<uint64_t>(Opcode::kByteArray8, bytes.size()).view(), bytes);
  return MemoPut(value);
}

bool Pickler::SaveBuffer(const Value& value) {
  const bool made = (value.id() & PicklerMemo::kExtra) != 0;
  const Buffer buffer = made ? extra_.buffer(value) : document_.buffer(value);
  if (protocol_ < 5) return Fail("a buffer needs protocol 5");
  BufferPlace place = BufferPlace::kInBand;
  if (options_.place_buffer) {
    StatusOr<BufferPlace> answer = options_.place_buffer(buffer);
    if (!answer.ok()) return FailWith(answer.status());
    place = *answer;
  }
  if (place == BufferPlace::kInBand) {
    const std::string_view bytes = AsText(buffer.span());
    return buffer.readonly() ? SaveBytesData(value, bytes) : SaveByteArrayData(value, bytes);
  }
  output_.Op(Opcode::kNextBuffer);
  if (buffer.readonly()) output_.Op(Opcode::kReadonlyBuffer);
  out_->buffers.push_back(buffer);
  return true;
}

}  // namespace pannier::codec::internal
