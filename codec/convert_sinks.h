// Where DirectReader::ReadItems puts the items of a list, an array of fixed length, a dict or a
// set: its sinks.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <type_traits>
#include <utility>

#include "pannier/codec/convert.h"
#include "pannier/codec/convert_direct.h"
#include "pannier/codec/convert_scalar.h"

namespace pannier::codec::internal {

// DirectReader's sink for the items of a list.
template <class Vector>
class VectorSink {
 public:
  using T = typename Vector::value_type;

  VectorSink(DirectReader& in, Vector* out)
      : in_(in), out_(*out), root_(in.TakeRoot()), left_(in.left()) {}

  size_t Take() {
    if (root_ && out_.size() >= DirectReader::kBatch) Reserve();
    if constexpr (kIsNumberInteger<T>) {
      return TakeNumbers<int64_t>([&](int64_t* to, size_t n) { return in_.ReadInts(to, n); });
    } else if constexpr (std::is_floating_point_v<T>) {
      if (in_.Peek() == static_cast<uint8_t>(Opcode::kBinFloat)) {
        return TakeNumbers<double>([&](double* to, size_t n) { return in_.ReadFloats(to, n); });
      }
    }
    return TakeOne();
  }
  bool Truncate(size_t count) {
    out_.resize(count);
    return true;
  }

 private:
  static constexpr size_t kMostAtOnce = 1024;

  // The rest of the stream belongs to this list, and is as the first batch was.
  void Reserve() {
    root_ = false;
    const size_t taken = left_ - in_.left();
    const auto rest = static_cast<double>(in_.left()) / static_cast<double>(taken);
    const size_t more = static_cast<size_t>(rest * static_cast<double>(out_.size()));
    const size_t ahead = more + more / 16;
    if (ahead > in_.bytes_left() / sizeof(T)) return;  // more than may be charged
    const size_t items = out_.size() + ahead;
    out_.reserve(items);
    // No more is touched than the stream is long, as something else may follow.
    if constexpr (!std::is_same_v<T, bool>) {
      ExpectToFill(out_.data(), items * sizeof(T), in_.left());
    }
  }
  // `read` into the vector where its numbers are those of the stream, else through a buffer.
  template <class Number, class Read>
  size_t TakeNumbers(Read read) {
    const size_t old_size = out_.size();
    size_t taken;
    if constexpr (std::is_same_v<T, Number>) {
      out_.resize(old_size + at_once_);
      taken = read(out_.data() + old_size, at_once_);
      out_.resize(old_size + taken);
    } else {
      Number numbers[kMostAtOnce];
      taken = read(numbers, at_once_);
      out_.resize(old_size + taken);
      for (size_t i = 0; i < taken; ++i) {
        if (!Convert<T>::FromDirect(numbers[i], &out_[old_size + i])) return 0;
      }
    }
    if (taken == at_once_) at_once_ = std::min(4 * at_once_, kMostAtOnce);
    return in_.Charge(taken * sizeof(T)) ? taken : 0;
  }
  size_t TakeOne() {
    if (!in_.Charge(sizeof(T))) return 0;
    if constexpr (std::is_same_v<T, bool>) {
      bool item;
      if (!in_.ReadBool(&item)) return 0;
      out_.push_back(item);
    } else {
      if (!Convert<T>::ReadDirect(in_, &out_.emplace_back())) return 0;
    }
    return 1;
  }

  DirectReader& in_;
  Vector& out_;
  bool root_;
  const size_t left_;
  size_t at_once_ = 8;
};

template <class T>
class ArraySink {
 public:
  ArraySink(DirectReader& in, std::span<T> out) : in_(in), out_(out) {}
  size_t Take() {
    if (count_ == out_.size() || !Convert<T>::ReadDirect(in_, &out_[count_])) return 0;
    ++count_;
    return 1;
  }
  bool Truncate(size_t count) { return count == count_; }
  bool full() const { return count_ == out_.size(); }

 private:
  DirectReader& in_;
  std::span<T> out_;
  size_t count_ = 0;
};

// What has no order of its own can forget everything or nothing.
template <class C>
bool ForgetAll(C& container, size_t count) {
  if (count == 0) container.clear();
  return container.size() == count;
}

// Keys that are equal in C++ as they are in Python. A key that comes twice ends it.
template <class M>
class MapSink {
 public:
  using Key = typename M::key_type;
  static constexpr bool kHasKey = std::is_same_v<Key, std::string> || kIsNumberInteger<Key>;

  MapSink(DirectReader& in, M* out) : in_(in), out_(*out) { in.TakeRoot(); }
  size_t Take() {
    Key key{};
    typename M::mapped_type mapped{};
    if (!in_.Charge(sizeof(typename M::value_type)) || !Convert<Key>::ReadDirect(in_, &key) ||
        !Convert<typename M::mapped_type>::ReadDirect(in_, &mapped)) {
      return 0;
    }
    const size_t before = out_.size();
    out_.insert_or_assign(out_.end(), std::move(key), std::move(mapped));
    return out_.size() - before;
  }
  bool Truncate(size_t count) { return ForgetAll(out_, count); }

 private:
  DirectReader& in_;
  M& out_;
};

template <class S>
class SetSink {
 public:
  using Key = typename S::key_type;

  SetSink(DirectReader& in, S* out) : in_(in), out_(*out) { in.TakeRoot(); }
  size_t Take() {
    Key key{};
    if (!in_.Charge(sizeof(Key)) || !Convert<Key>::ReadDirect(in_, &key)) return 0;
    const size_t before = out_.size();
    out_.insert(std::move(key));
    return out_.size() - before;
  }
  bool Truncate(size_t count) { return ForgetAll(out_, count); }

 private:
  DirectReader& in_;
  S& out_;
};

}  // namespace pannier::codec::internal
