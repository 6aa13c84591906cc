#include "pannier/codec/output.h"

#include <algorithm>

#include "pannier/base/bytes.h"

namespace pannier::codec::internal {

void Output::Grow(size_t size) {
  const auto used = static_cast<size_t>(next_ - begin_.get());
  const auto old_size = static_cast<size_t>(limit_ - begin_.get());
  const size_t new_size = std::max({used + size, old_size * 2, kFrameTarget / 16});
  std::unique_ptr<char[]> moved(new char[new_size]);
  if (used != 0) std::memcpy(moved.get(), begin_.get(), used);
  begin_ = std::move(moved);
  next_ = begin_.get() + used;
  limit_ = begin_.get() + new_size;
}

void Output::Commit() {
  const auto size = static_cast<uint64_t>(next_ - begin_.get());
  if (framed_ && size >= kFrameMinimum) {
    stream_->push_back(static_cast<char>(Opcode::kFrame));
    stream_->append(reinterpret_cast<const char*>(&size), sizeof(size));
  }
  stream_->append(begin_.get(), size);
  next_ = begin_.get();
  if (sink_ == nullptr) return;
  Drain(*stream_);
  stream_->clear();
}

void Output::Drain(std::string_view bytes) {
  if (sink_status_.ok() && !bytes.empty()) sink_status_ = (*sink_)(AsBytes(bytes));
  sunk_ += bytes.size();
}

void Output::Large(std::string_view header, std::string_view bytes) {
  Commit();
  if (sink_ != nullptr) {
    Drain(header);
    Drain(bytes);
    return;
  }
  stream_->append(header);
  stream_->append(bytes);
}

}  // namespace pannier::codec::internal
