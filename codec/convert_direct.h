// The direct way from a stream to C++ values: Loads<T> of numbers, texts, containers of them
// and structs reads them off the stream, with no Value in between.
//
// DirectReader knows the forms in which a pickler writes these, and no others: of protocols 2
// to 5, of the first mention of an object, of frames and batches as they should be. Each Read
// function is true and has taken one whole value, or it is false, and Loads begins anew with
// the decoder and Convert<T>::From, which know everything. So nothing is an error here, and
// what is read here is what the general way would have read: that holds for every stream, and
// tests/codec/convert_direct_test.cc and direct_fuzz.cc compare the two.
//
// A Convert<T> takes part with `kDirect` true and `static bool ReadDirect(DirectReader& in,
// T* object)`, where *object is T{} before. It charges what From would charge, or more.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <string_view>
#include <type_traits>
#include <vector>

#include "pannier/codec/array_dtype.h"
#include "pannier/codec/convert.h"
#include "pannier/codec/decoder.h"
#include "pannier/codec/opcodes.h"

namespace pannier::codec {

// True if Convert<T> reads streams directly.
template <class T>
inline constexpr bool kReadsDirectly = [] {
  if constexpr (requires { Convert<T>::kDirect; }) {
    return Convert<T>::kDirect;
  } else {
    return false;
  }
}();

// Not thread-safe. The stream must outlive it.
class DirectReader {
 public:
  // As many as there are in a batch.
  static constexpr size_t kBatch = 1000;
  // The longest forms of an int of 32 bits and of a float.
  static constexpr int kIntBytes = 5;
  static constexpr int kFloatBytes = 9;

  explicit DirectReader(ByteSpan stream);

  // True if a stream decoded with these options may be read directly: what they limit, allow
  // or ask to be told is the decoder's alone.
  static bool Allows(ByteSpan stream, const DecodeOptions& options);

  // The stream's beginning and its end, around the one value.
  bool Begin();
  bool End();

  // True the first time that it is asked: the whole rest of the stream is one container.
  bool TakeRoot() {
    const bool root = root_;
    root_ = false;
    return root;
  }
  size_t left() const { return static_cast<size_t>(end_ - next_); }
  uint64_t bytes_left() const { return bytes_left_; }  // that may be charged
  bool Charge(uint64_t bytes) {
    if (bytes > bytes_left_) return false;
    bytes_left_ -= bytes;
    return true;
  }

  // The next opcode, which is not taken; a byte that is none where the stream ends. Enters and
  // leaves frames.
  uint8_t Peek() { return next_ != limit_ && *next_ != kFrame ? *next_ : PeekSlow(); }
  bool Take(Opcode opcode) {
    if (Peek() != static_cast<uint8_t>(opcode)) return false;
    ++next_;
    return true;
  }

  // Of 32 bits, and beyond them.
  bool ReadInt(int64_t* value) {
    const uint8_t* at = next_;
    if (limit_ - at >= kIntBytes && QuickInt(&at, value)) {
      next_ = at;
      return true;
    }
    return ReadIntSlow(value);
  }
  bool ReadFloat(double* value) {
    const uint8_t opcode = Peek();
    if (opcode == static_cast<uint8_t>(Opcode::kBinFloat)) {
      return limit_ - next_ >= kFloatBytes && QuickFloat(&next_, value);
    }
    int64_t integer;
    // A longer integer may be no double.
    if (opcode == static_cast<uint8_t>(Opcode::kLong1) || !ReadInt(&integer)) return false;
    *value = static_cast<double>(integer);
    return true;
  }
  bool ReadBool(bool* value);
  // Borrowed from the stream; UTF-8.
  bool ReadText(std::string_view* text);
  // The class of this name.
  bool ReadClass(std::string_view module, std::string_view name);
  // A number, text, bool or None that nobody wants.
  bool SkipScalar();
  // Up to `room` numbers that stand one after the other; the count.
  size_t ReadInts(int64_t* out, size_t room);
  size_t ReadFloats(double* out, size_t room);

  // Rows of numbers and bools, as in a list of pairs or structs, are most of what is read so, and
  // take half the time when the longest row is in sight, so that nothing need be looked at but the
  // opcodes. False, and nothing taken: read it some other way. What T is read so, and its bytes:
  template <class T>
  static constexpr int kQuickBytes = std::is_same_v<T, bool>         ? 1
                                     : internal::kIsNumberInteger<T> ? kIntBytes
                                     : std::is_floating_point_v<T>   ? kFloatBytes
                                                                     : 0;
  // REQUIRES: that many bytes are at `*at`, which moves.
  template <class T>
  static bool ReadQuick(const uint8_t** at, T* value) {
    if constexpr (std::is_same_v<T, bool>) {
      const uint8_t opcode = *(*at)++;
      *value = opcode == static_cast<uint8_t>(Opcode::kNewTrue);
      return *value || opcode == static_cast<uint8_t>(Opcode::kNewFalse);
    } else if constexpr (std::is_floating_point_v<T>) {
      double number;
      return QuickFloat(at, &number) && Convert<T>::FromDirect(number, value);
    } else {
      int64_t number;
      return QuickInt(at, &number) && Convert<T>::FromDirect(number, value);
    }
  }
  // Then `end`, memoised.
  template <class... T>
  bool ReadQuickTuple(Opcode end, T*... items) {
    const uint8_t* at = next_;
    if (limit_ - at < (kQuickBytes<T> + ... + 2)) return false;
    if (!(ReadQuick(&at, items) && ...) || at[0] != static_cast<uint8_t>(end) ||
        at[1] != static_cast<uint8_t>(Opcode::kMemoize)) {
      return false;
    }
    next_ = at + 2;
    ++memo_count_;
    return true;
  }

  // The PUT of a container or an instance, if there is one.
  bool Memoize() {
    if (Peek() != static_cast<uint8_t>(Opcode::kMemoize)) return PutSlow();
    ++next_;
    ++memo_count_;
    return true;
  }

  // Up to 16 bytes of opcodes that come again and again between the values of one type of
  // struct: learned once, and then compared as they are.
  struct Phrase {
    uint64_t bits[2] = {};
    uint64_t mask[2] = {};
    uint32_t size = 0;
    uint32_t memoized = 0;  // MEMOIZEs in it
  };
  struct Place {
    const uint8_t* next;
    const uint8_t* limit;
    uint32_t memo_count;
    uint32_t memo_entries;
  };
  Place place() const { return {next_, limit_, memo_count_, static_cast<uint32_t>(memo_.size())}; }
  // The phrase between two places of this stream; false if it means something else elsewhere.
  bool Learn(const Place& from, const Place& to, Phrase* phrase) const;
  bool TakePhrase(const Phrase& phrase) {
    if (limit_ - next_ < kPhraseBytes || !Matches(phrase, next_)) return false;
    next_ += phrase.size;
    memo_count_ += phrase.memoized;
    return true;
  }

  // What is between the values of a struct's fields, all of them in their order.
  struct Phrases {
    const void* type = nullptr;
    bool known = false;
    uint8_t attempts = 0;     // to learn
    uint32_t memo_count = 0;  // when they were learned
    Phrase suffix;
    std::vector<Phrase> before;  // each field; before[0] from the beginning
  };
  // ReadQuick() of values with these phrases before and behind them, as many as values and one.
  template <class... T>
  bool ReadQuickFields(const Phrases& phrases, T*... values) {
    const uint8_t* at = next_;
    if (limit_ - at < ((kQuickBytes<T> + kPhraseBytes) + ... + kPhraseBytes)) return false;
    const Phrase* phrase = phrases.before.data();
    uint32_t memoized = 0;
    const auto take = [&](const Phrase& wanted) {
      if (!Matches(wanted, at)) return false;
      at += wanted.size;
      memoized += wanted.memoized;
      return true;
    };
    if (!((take(*phrase++) && ReadQuick(&at, values)) && ...) || !take(phrases.suffix))
      return false;
    next_ = at;
    memo_count_ += memoized;
    return true;
  }
  // Those of this type, which an address stands for.
  Phrases& PhrasesOf(const void* type) {
    if (last_ < phrases_.size() && phrases_[last_]->type == type) return *phrases_[last_];
    return FindPhrases(type);
  }

  struct State {
    const uint8_t* next;
    const uint8_t* limit;
    uint64_t bytes_left;
    uint32_t memo_count;
    uint32_t memo_entries;
    bool in_frame;
  };
  State Save() const {
    return {next_,    limit_, bytes_left_, memo_count_, static_cast<uint32_t>(memo_.size()),
            in_frame_};
  }
  // False if too much was read twice already.
  bool Restore(const State& state);

  // What follows an empty list (dict, set), as far as it belongs to it. The sink has two members:
  //   size_t Take();                takes one item or more; how many, or 0 for failure
  //   bool Truncate(size_t count);  forgets all items but the first; false if it cannot
  // `one` is the opcode after an item that stands alone; kStop if the kind has none.
  template <class Sink>
  bool ReadItems(Opcode many, Opcode one, Sink& sink);

 private:
  // A text or a class that was memoised, and where it stands in the stream.
  struct Entry {
    uint32_t index;
    const uint8_t* at;
  };
  struct Global {
    const uint8_t* at;
    std::string_view module;
    std::string_view name;
  };
  static constexpr int kPhraseBytes = sizeof(Phrase::bits);
  static constexpr uint8_t kFrame = static_cast<uint8_t>(Opcode::kFrame);
  static constexpr uint8_t kNothing = 0xff;  // no opcode

  // REQUIRES: so many bytes are at `*at`, which moves if they are of 32 bits, or a float.
  static bool QuickInt(const uint8_t** at, int64_t* value) {
    const uint8_t* p = *at;
    if (*p == static_cast<uint8_t>(Opcode::kBinInt)) {
      int32_t number;
      std::memcpy(&number, p + 1, sizeof(number));
      *value = number;
      *at = p + 5;
    } else if (*p == static_cast<uint8_t>(Opcode::kBinInt2)) {
      *value = p[1] | p[2] << 8;
      *at = p + 3;
    } else if (*p == static_cast<uint8_t>(Opcode::kBinInt1)) {
      *value = p[1];
      *at = p + 2;
    } else {
      return false;
    }
    return true;
  }
  static bool QuickFloat(const uint8_t** at, double* value) {
    if (**at != static_cast<uint8_t>(Opcode::kBinFloat)) return false;
    uint64_t bits;
    std::memcpy(&bits, *at + 1, sizeof(bits));
    *value = std::bit_cast<double>(__builtin_bswap64(bits));
    *at += kFloatBytes;
    return true;
  }
  static bool Matches(const Phrase& phrase, const uint8_t* at) {
    uint64_t words[2];
    std::memcpy(words, at, sizeof(words));
    return (((words[0] ^ phrase.bits[0]) & phrase.mask[0]) |
            ((words[1] ^ phrase.bits[1]) & phrase.mask[1])) == 0;
  }
  uint8_t PeekSlow();
  bool ReadIntSlow(int64_t* value);
  bool MemoizeAt(const uint8_t* at) {
    const uint32_t index = memo_count_;
    if (!Memoize()) return false;
    if (memo_count_ != index) memo_.push_back({index, at});
    return true;
  }
  bool PutSlow();
  bool ReadMemo(const uint8_t** at);
  const uint8_t* TextAt(const uint8_t* at, std::string_view* text) const;
  Phrases& FindPhrases(const void* type);

  const uint8_t* next_;
  const uint8_t* const end_;
  const uint8_t* limit_;  // end of the frame, or end_
  bool in_frame_ = false;
  bool root_ = true;
  uint8_t protocol_ = 0;
  uint64_t bytes_left_;
  uint64_t rewinds_left_;  // bytes that may be read again, so that work stays linear
  uint32_t memo_count_ = 0;
  bool has_puts_ = false;    // with an index of their own
  std::vector<Entry> memo_;  // by index; what else was memoised is not looked at
  std::vector<Global> globals_;
  std::vector<std::unique_ptr<Phrases>> phrases_;
  size_t last_ = 0;  // among phrases_
};

// A batch is `( item item ... many`; where a pickler writes a single item it is `item one`.
// What stands there may also belong to something else, and only its end tells: then it is as if
// nobody had looked at it.
template <class Sink>
bool DirectReader::ReadItems(Opcode many, Opcode one, Sink& sink) {
  size_t count = 0;
  while (count % kBatch == 0) {
    const State before = Save();
    if (Take(Opcode::kMark)) {
      size_t more = 0;
      bool good = true;
      while (good && !Take(many)) {
        const size_t taken = sink.Take();
        good = taken != 0;
        more += taken;
      }
      if (!good) return sink.Truncate(count) && Restore(before);
      count += more;
      if (more == 0) break;
    } else {
      if (one == Opcode::kStop || (sink.Take() == 1 && Take(one))) break;
      return sink.Truncate(count) && Restore(before);
    }
  }
  return true;
}

namespace internal {
// These bytes, just allocated, are about to be written from their beginning, likely to their end:
// asks for huge pages, and touches up to `first` bytes at once, as the first touch of pages would
// be most of the cost.
void ExpectToFill(void* memory, size_t bytes, size_t first);
}  // namespace internal

}  // namespace pannier::codec
