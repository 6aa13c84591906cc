// PEP 574's buffer: what it shows, what travels, and what is refused.
#include "pannier/codec/pickle_buffer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>

#include "pannier/codec/decoder.h"
#include "pannier/codec/encoder.h"
#include "pannier/codec/repr.h"

namespace pannier::codec {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using Numbers = std::vector<int64_t>;

Buffer Memory(size_t size) {
  const Buffer memory = Buffer::OfHeap(size);
  for (size_t i = 0; i < size; ++i) memory.mutable_data()[i] = static_cast<std::byte>(i);
  return memory;
}

TEST(PickleBuffer, OfBytes) {
  const PickleBuffer buffer(Memory(5));
  EXPECT_EQ(buffer.format(), "B");
  EXPECT_EQ(buffer.itemsize(), 1u);
  EXPECT_THAT(buffer.shape(), ElementsAre(5));
  EXPECT_THAT(buffer.strides(), ElementsAre(1));
  EXPECT_EQ(buffer.nbytes(), 5u);
  EXPECT_FALSE(buffer.readonly());
  EXPECT_TRUE(buffer.c_contiguous());
  EXPECT_TRUE(buffer.f_contiguous());
  EXPECT_TRUE(PickleBuffer(Memory(3).AsReadonly()).readonly());
}

struct Layout {
  Numbers shape;
  Numbers strides;
  size_t offset;
  bool c;
  bool f;
};
class Layouts : public ::testing::TestWithParam<Layout> {};

TEST_P(Layouts, Contiguity) {
  const Layout& layout = GetParam();
  const auto buffer =
      PickleBuffer::Of(Memory(48), "h", 2, layout.shape, layout.strides, layout.offset);
  ASSERT_TRUE(buffer.ok()) << buffer.status();
  EXPECT_EQ(buffer->c_contiguous(), layout.c);
  EXPECT_EQ(buffer->f_contiguous(), layout.f);
  const auto raw = buffer->raw();
  ASSERT_EQ(raw.ok(), layout.c || layout.f);
  if (raw.ok()) {
    EXPECT_EQ(raw->size(), buffer->nbytes());
  } else {
    EXPECT_EQ(KindOf(raw.status()), ErrorKind::kPickling);
    Document document;
    EXPECT_EQ(KindOf(buffer->ToValue(document).status()), ErrorKind::kPickling);
  }
}

INSTANTIATE_TEST_SUITE_P(
    All, Layouts,
    ::testing::Values(Layout{{2, 3, 4}, {}, 0, true, false},
                      Layout{{2, 3, 4}, {2, 4, 12}, 0, false, true},
                      Layout{{24}, {2}, 0, true, true}, Layout{{12}, {4}, 0, false, false},
                      Layout{{12}, {-2}, 22, false, false}, Layout{{12}, {2}, 24, true, true},
                      Layout{{4, 4}, {0, 2}, 0, false, false},
                      Layout{{1, 4}, {1000, 2}, 0, true, true},
                      Layout{{4, 1}, {2, -8}, 0, true, true}, Layout{{3, 0}, {7, 9}, 0, true, true},
                      Layout{{}, {}, 0, true, true}));

TEST(PickleBuffer, RawIsTheSameMemory) {
  const Buffer memory = Memory(48);
  const auto buffer = PickleBuffer::Of(memory, "h", 2, {3, 2}, {2, 6}, 8);
  ASSERT_TRUE(buffer.ok());
  const auto raw = buffer->raw();
  ASSERT_TRUE(raw.ok());
  EXPECT_EQ(raw->data(), memory.data() + 8);
  EXPECT_EQ(raw->size(), 12u);
  EXPECT_FALSE(raw->readonly());
}

TEST(PickleBuffer, RefusesWhatLiesOutside) {
  constexpr int64_t kMost = std::numeric_limits<int64_t>::max();
  const auto error = [](size_t itemsize, Numbers shape, Numbers strides, size_t offset = 0) {
    return KindOf(PickleBuffer::Of(Memory(48), "h", itemsize, shape, strides, offset).status());
  };
  EXPECT_EQ(error(2, {25}, {}), ErrorKind::kInvalidArgument);
  EXPECT_EQ(error(2, {24}, {}, 1), ErrorKind::kInvalidArgument);
  EXPECT_EQ(error(2, {12}, {-2}, 20), ErrorKind::kInvalidArgument);
  EXPECT_EQ(error(2, {2, 2}, {2}), ErrorKind::kInvalidArgument);
  EXPECT_EQ(error(2, {-1}, {}), ErrorKind::kInvalidArgument);
  EXPECT_EQ(error(0, {1}, {}), ErrorKind::kInvalidArgument);
  EXPECT_EQ(error(2, {kMost, kMost}, {}), ErrorKind::kInvalidArgument);
  EXPECT_EQ(error(2, {kMost}, {kMost}), ErrorKind::kInvalidArgument);
  EXPECT_EQ(error(2, {kMost}, {-kMost}), ErrorKind::kInvalidArgument);
  EXPECT_EQ(error(2, {1}, {2}, std::numeric_limits<size_t>::max()), ErrorKind::kInvalidArgument);
  EXPECT_EQ(error(std::numeric_limits<size_t>::max(), {1}, {}), ErrorKind::kInvalidArgument);
  EXPECT_EQ(error(2, Numbers(65, 1), {}), ErrorKind::kInvalidArgument);
  EXPECT_EQ(error(2, {kMost, 0}, {}), ErrorKind::kNone);
}

TEST(PickleBuffer, ReleaseGivesTheMemoryUp) {
  const Buffer memory = Memory(4);
  PickleBuffer buffer(memory);
  const PickleBuffer copy = buffer;
  EXPECT_EQ(memory.owner()->refs(), 3u);
  buffer.release();
  EXPECT_EQ(memory.owner()->refs(), 2u);
  EXPECT_TRUE(buffer.released());
  EXPECT_EQ(KindOf(buffer.raw().status()), ErrorKind::kClosed);
  buffer.release();  // again does nothing
  EXPECT_TRUE(copy.raw().ok());
}

// The manual's ZeroCopyByteArray: a copy in band, the object itself out of band.
TEST(ZeroCopyByteArray, IsNotCopiedOutOfBand) {
  const Buffer memory = Memory(3);
  Document document;
  const auto value = PickleBuffer(memory).ToValue(document);
  ASSERT_TRUE(value.ok());
  document.set_root(document.NewReduce(
      document.NewGlobal("__main__", "ZeroCopyByteArray._reconstruct"), {*value}));

  const auto in_band = Encode(document);
  ASSERT_TRUE(in_band.ok()) << in_band.status();
  const auto copy = Decode(AsBytes(in_band->stream));
  const Value copied = copy->root().args().items()[0];
  ASSERT_TRUE(copied.is(Kind::kByteArray));
  EXPECT_EQ(copied.text(), AsText(memory.span()));
  EXPECT_NE(copied.bytes().data(), memory.data());

  EncodeOptions options;
  options.place_buffer = OutOfBand;
  const auto out_of_band = Encode(document, options);
  ASSERT_TRUE(out_of_band.ok()) << out_of_band.status();
  ASSERT_EQ(out_of_band->buffers.size(), 1u);
  DecodeOptions given;
  given.buffers = out_of_band->buffers;
  const auto same = Decode(AsBytes(out_of_band->stream), given);
  ASSERT_TRUE(same.ok());
  EXPECT_EQ(same->buffer(same->root().args().items()[0]).data(), memory.data());
  // "PickleBuffer is forbidden with pickle protocols <= 4."
  options.place_buffer = nullptr;
  options.protocol = 4;
  EXPECT_THAT(std::string(Encode(document, options).status().message()),
              HasSubstr("a buffer needs protocol 5"));
}

}  // namespace
}  // namespace pannier::codec
