#include "pannier/codec/convert_direct.h"

#include <sys/mman.h>

#include <algorithm>
#include <bit>
#include <cstring>
#include <limits>

#include "pannier/codec/utf8.h"

namespace pannier::codec {
namespace {

// A stream of this size has fewer objects than Values have numbers.
constexpr size_t kLargestStream = std::numeric_limits<uint32_t>::max() / 8;
// A pickler writes the name of a class once; who writes more is left to the decoder, as each is
// looked at when a class is named again.
constexpr size_t kMostGlobals = 256;

template <class T>
T Load(const uint8_t* at) {
  T value;
  std::memcpy(&value, at, sizeof(T));
  return value;
}

constexpr uint8_t Byte(Opcode opcode) { return static_cast<uint8_t>(opcode); }

double LoadFloat8(const uint8_t* at) {
  return std::bit_cast<double>(__builtin_bswap64(Load<uint64_t>(at)));
}

}  // namespace

DirectReader::DirectReader(ByteSpan stream)
    : next_(reinterpret_cast<const uint8_t*>(stream.data())),
      end_(next_ + stream.size()),
      limit_(end_),
      bytes_left_(ConvertOptions::kBaseBytes + 8 * stream.size()),
      rewinds_left_(stream.size()) {}

bool DirectReader::Allows(ByteSpan stream, const DecodeOptions& options) {
  return stream.size() <= kLargestStream && options.limits == DecodeLimits() &&
         options.allow == nullptr && options.classes == nullptr && options.made == nullptr &&
         options.keys == nullptr && !options.refuse_overwriting;
}

bool DirectReader::Begin() {
  if (!Take(Opcode::kProto) || next_ == limit_) return false;
  protocol_ = *next_++;
  return protocol_ >= 2 && protocol_ <= 5;
}

bool DirectReader::End() { return Take(Opcode::kStop); }

uint8_t DirectReader::PeekSlow() {
  while (true) {
    if (next_ == limit_) {
      in_frame_ = false;
      limit_ = end_;
      if (next_ == end_) return kNothing;
    }
    if (*next_ != kFrame) return *next_;
    const size_t room = static_cast<size_t>(limit_ - next_) - 1;
    if (room < sizeof(uint64_t)) return kNothing;
    if (in_frame_ && room != sizeof(uint64_t)) return kNothing;
    const auto length = Load<uint64_t>(next_ + 1);
    const uint8_t* begin = next_ + 1 + sizeof(uint64_t);
    if (length > static_cast<size_t>(end_ - begin)) return kNothing;
    next_ = begin;
    limit_ = begin + length;
    in_frame_ = true;
  }
}

bool DirectReader::PutSlow() {
  const uint8_t opcode = Peek();
  const auto room = static_cast<size_t>(limit_ - next_);
  uint64_t index;
  if (opcode == Byte(Opcode::kBinPut)) {
    if (room < 2) return false;
    index = next_[1];
    next_ += 2;
  } else if (opcode == Byte(Opcode::kLongBinPut)) {
    if (room < 5) return false;
    index = Load<uint32_t>(next_ + 1);
    next_ += 5;
  } else {
    return true;  // an optimised stream
  }
  has_puts_ = true;
  return index == memo_count_++;
}

// REQUIRES: the next opcode is BINGET or LONG_BINGET. *at is not null.
bool DirectReader::ReadMemo(const uint8_t** at) {
  const auto room = static_cast<size_t>(limit_ - next_);
  uint64_t index;
  if (*next_ == Byte(Opcode::kBinGet)) {
    if (room < 2) return false;
    index = next_[1];
    next_ += 2;
  } else {
    if (room < 5) return false;
    index = Load<uint32_t>(next_ + 1);
    next_ += 5;
  }
  const auto entry =
      std::lower_bound(memo_.begin(), memo_.end(), index,
                       [](const Entry& a, uint64_t wanted) { return a.index < wanted; });
  if (entry == memo_.end() || entry->index != index) return false;
  *at = entry->at;
  return true;
}

bool DirectReader::Restore(const State& state) {
  const auto distance = static_cast<uint64_t>(next_ - state.next);
  if (distance > rewinds_left_) return false;
  rewinds_left_ -= distance;
  next_ = state.next;
  limit_ = state.limit;
  in_frame_ = state.in_frame;
  memo_count_ = state.memo_count;
  // Their indices may come to mean something else.
  for (const auto& phrases : phrases_) {
    if (phrases->memo_count > memo_count_) phrases->known = false;
  }
  memo_.resize(state.memo_entries);
  bytes_left_ = state.bytes_left;
  return true;
}

bool DirectReader::Learn(const Place& from, const Place& to, Phrase* phrase) const {
  if (from.limit != to.limit || to.next < from.next || protocol_ < 4 || has_puts_) return false;
  const auto size = static_cast<size_t>(to.next - from.next);
  // A text that stands there would be memoised anew.
  if (size > sizeof(phrase->bits) || from.memo_entries != to.memo_entries) return false;
  *phrase = Phrase();
  std::memcpy(phrase->bits, from.next, size);
  std::memset(phrase->mask, 0xff, size);
  phrase->size = static_cast<uint32_t>(size);
  phrase->memoized = to.memo_count - from.memo_count;
  return true;
}

DirectReader::Phrases& DirectReader::FindPhrases(const void* type) {
  for (last_ = 0; last_ < phrases_.size(); ++last_) {
    if (phrases_[last_]->type == type) return *phrases_[last_];
  }
  phrases_.push_back(std::make_unique<Phrases>());
  phrases_.back()->type = type;
  return *phrases_.back();
}

size_t DirectReader::ReadFloats(double* out, size_t room) {
  constexpr size_t kEach = 1 + sizeof(double);
  constexpr size_t kBlock = 8;
  Peek();
  const size_t most = std::min(room, static_cast<size_t>(limit_ - next_) / kEach);
  const uint8_t* at = next_;
  size_t count = 0;
  // Blocks of which all are floats.
  for (; count + kBlock <= most; count += kBlock, at += kBlock * kEach) {
    uint8_t other = 0;
    for (size_t i = 0; i < kBlock; ++i) {
      other |= static_cast<uint8_t>(at[i * kEach] ^ Byte(Opcode::kBinFloat));
    }
    if (other != 0) break;
    for (size_t i = 0; i < kBlock; ++i) out[count + i] = LoadFloat8(at + i * kEach + 1);
  }
  for (; count < most && *at == Byte(Opcode::kBinFloat); ++count, at += kEach) {
    out[count] = LoadFloat8(at + 1);
  }
  next_ = at;
  return count;
}

size_t DirectReader::ReadInts(int64_t* out, size_t room) {
  constexpr size_t kBlock = 8;
  constexpr size_t kEach = 1 + sizeof(int32_t);
  Peek();
  const uint8_t* at = next_;
  size_t count = 0;
  // Where each of these opcodes still has its argument.
  while (count < room && limit_ - at >= static_cast<ptrdiff_t>(kEach)) {
    if (*at == Byte(Opcode::kBinInt)) {
      // Blocks of the long form, which numbers from 65,536 on have.
      while (count + kBlock <= room && limit_ - at >= static_cast<ptrdiff_t>(kBlock * kEach)) {
        uint8_t other = 0;
        for (size_t i = 0; i < kBlock; ++i) {
          other |= static_cast<uint8_t>(at[i * kEach] ^ Byte(Opcode::kBinInt));
        }
        if (other != 0) break;
        for (size_t i = 0; i < kBlock; ++i) out[count + i] = Load<int32_t>(at + i * kEach + 1);
        count += kBlock;
        at += kBlock * kEach;
      }
      if (count == room || limit_ - at < static_cast<ptrdiff_t>(kEach)) break;
      if (*at != Byte(Opcode::kBinInt)) continue;
      out[count++] = Load<int32_t>(at + 1);
      at += 5;
    } else if (*at == Byte(Opcode::kBinInt2)) {
      out[count++] = Load<uint16_t>(at + 1);
      at += 3;
    } else if (*at == Byte(Opcode::kBinInt1)) {
      out[count++] = at[1];
      at += 2;
    } else {
      break;
    }
  }
  next_ = at;
  if (count == 0 && room > 0 && ReadInt(out)) count = 1;
  return count;
}

bool DirectReader::ReadIntSlow(int64_t* value) {
  const uint8_t opcode = Peek();
  const auto room = static_cast<size_t>(limit_ - next_);
  if (opcode == Byte(Opcode::kBinInt1) && room >= 2) {
    *value = next_[1];
    next_ += 2;
    return true;
  }
  if (opcode == Byte(Opcode::kBinInt2) && room >= 3) {
    *value = Load<uint16_t>(next_ + 1);
    next_ += 3;
    return true;
  }
  if (opcode == Byte(Opcode::kBinInt) && room >= 5) {
    *value = Load<int32_t>(next_ + 1);
    next_ += 5;
    return true;
  }
  // Two's complement of up to 64 bits.
  if (opcode != Byte(Opcode::kLong1) || room < 2 || next_[1] > 8 || room < 2u + next_[1]) {
    return false;
  }
  const size_t size = next_[1];
  uint64_t bits = 0;
  std::memcpy(&bits, next_ + 2, size);
  const auto shift = static_cast<int>(64 - 8 * size);
  *value = size == 0 ? 0 : static_cast<int64_t>(bits << shift) >> shift;
  next_ += 2 + size;
  return true;
}

bool DirectReader::ReadBool(bool* value) {
  const uint8_t opcode = Peek();
  if (opcode != Byte(Opcode::kNewTrue) && opcode != Byte(Opcode::kNewFalse)) return false;
  *value = opcode == Byte(Opcode::kNewTrue);
  ++next_;
  return true;
}

// The text whose opcode is at `at`, and where it ends; null if there is no text.
const uint8_t* DirectReader::TextAt(const uint8_t* at, std::string_view* text) const {
  const auto room = static_cast<size_t>(end_ - at) - 1;
  uint64_t size;
  size_t header;
  if (*at == Byte(Opcode::kShortBinUnicode) && room >= 1) {
    size = at[1];
    header = 2;
  } else if (*at == Byte(Opcode::kBinUnicode) && room >= 4) {
    size = Load<uint32_t>(at + 1);
    header = 5;
  } else if (*at == Byte(Opcode::kBinUnicode8) && room >= 8) {
    size = Load<uint64_t>(at + 1);
    header = 9;
  } else {
    return nullptr;
  }
  if (size > room + 1 - header) return nullptr;
  *text = {reinterpret_cast<const char*>(at + header), static_cast<size_t>(size)};
  return at + header + size;
}

bool DirectReader::ReadText(std::string_view* text) {
  const uint8_t opcode = Peek();
  const uint8_t* at = next_;
  if (opcode == Byte(Opcode::kBinGet) || opcode == Byte(Opcode::kLongBinGet)) {
    return ReadMemo(&at) && TextAt(at, text) != nullptr;
  }
  if (opcode == kNothing) return false;
  const uint8_t* after = TextAt(at, text);
  if (after == nullptr || after > limit_ || !internal::ValidUtf8(*text)) return false;
  next_ = after;
  return MemoizeAt(at);
}

bool DirectReader::ReadClass(std::string_view module, std::string_view name) {
  const uint8_t opcode = Peek();
  std::string_view found;
  if (opcode == Byte(Opcode::kBinGet) || opcode == Byte(Opcode::kLongBinGet)) {
    const uint8_t* at;
    if (!ReadMemo(&at)) return false;
    if (*at == Byte(Opcode::kStackGlobal)) {
      for (const Global& global : globals_) {
        if (global.at == at) return global.module == module && global.name == name;
      }
      return false;
    }
    if (TextAt(at, &found) == nullptr) return false;
  } else if (!ReadText(&found)) {
    return false;
  }
  // Below protocol 3 names may be those of Python 2.
  if (found != module || !ReadText(&found) || found != name || protocol_ < 3) return false;
  if (globals_.size() == kMostGlobals || !Take(Opcode::kStackGlobal)) return false;
  const uint8_t* at = next_ - 1;
  globals_.push_back({at, module, name});
  return MemoizeAt(at);
}

bool DirectReader::SkipScalar() {
  double number;
  bool flag;
  int64_t integer;
  std::string_view text;
  return Take(Opcode::kNone) || ReadBool(&flag) || ReadInt(&integer) || ReadFloat(&number) ||
         ReadText(&text);
}

namespace internal {

void ExpectToFill(void* memory, size_t bytes, size_t first) {
  constexpr size_t kWorthIt = size_t{1} << 20;
  constexpr uintptr_t kPage = 4096;
  if (bytes < kWorthIt) return;
  const uintptr_t begin = (reinterpret_cast<uintptr_t>(memory) + kPage - 1) & ~(kPage - 1);
  const uintptr_t end = (reinterpret_cast<uintptr_t>(memory) + bytes) & ~(kPage - 1);
  // Advice: a refusal changes nothing but time.
  madvise(reinterpret_cast<void*>(begin), end - begin, MADV_HUGEPAGE);
  madvise(reinterpret_cast<void*>(begin), std::min(end - begin, first & ~(kPage - 1)),
          MADV_POPULATE_WRITE);
}

}  // namespace internal
}  // namespace pannier::codec
