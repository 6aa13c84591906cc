#include "pannier/rpc/raw.h"

#include <utility>

namespace pannier {
namespace {

class TextOwner final : public BufferOwner {
 public:
  explicit TextOwner(std::string text) : text_(std::move(text)) {}
  std::string& text() { return text_; }

 private:
  void Dispose() noexcept override { delete this; }
  std::string text_;
};

}  // namespace

Buffer BufferOf(std::string text) {
  auto* owner = new TextOwner(std::move(text));
  auto* data = reinterpret_cast<std::byte*>(owner->text().data());
  return Buffer(data, owner->text().size(), /*readonly=*/true, owner);
}

}  // namespace pannier
