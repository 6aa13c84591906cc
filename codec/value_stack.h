// The decoder's stack: an array of Values that grows and is kept between streams.
#pragma once

#include <cstddef>
#include <cstdlib>
#include <new>
#include <type_traits>
#include <utility>

#include "pannier/codec/value.h"

namespace pannier::codec::internal {

class ValueStack {
 public:
  ValueStack() = default;
  ~ValueStack() { std::free(base_); }
  ValueStack(const ValueStack&) = delete;
  ValueStack& operator=(const ValueStack&) = delete;

  Value* base() const { return base_; }
  Value* limit() const { return limit_; }

  // More room; everything in it may move. Throws std::bad_alloc.
  void Grow() {
    static_assert(std::is_trivially_copyable_v<Value>);
    const size_t old_size = static_cast<size_t>(limit_ - base_);
    const size_t size = old_size == 0 ? 256 : old_size * 2;
    auto* moved =
        static_cast<Value*>(std::realloc(static_cast<void*>(base_), size * sizeof(Value)));
    if (moved == nullptr) throw std::bad_alloc();
    base_ = moved;
    limit_ = moved + size;
  }

 private:
  Value* base_ = nullptr;
  Value* limit_ = nullptr;
};

}  // namespace pannier::codec::internal
