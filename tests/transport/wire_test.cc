#include "pannier/transport/wire.h"

#include <gtest/gtest.h>

#include <string>

namespace pannier::wire {
namespace {

std::string Bytes(const FrameHeader& header, const std::vector<BufferRecord>& records,
                  const std::string& rest) {
  std::string head(AsText(std::as_bytes(std::span(&header, 1))));
  head += AsText(std::as_bytes(std::span(records)));
  return head + rest;
}

FrameHeader Header(uint64_t stream, uint32_t envelope, uint32_t buffers) {
  FrameHeader header;
  header.type = static_cast<uint8_t>(FrameType::kMessage);
  header.stream_size = stream;
  header.envelope_size = envelope;
  header.buffer_count = buffers;
  return header;
}

BufferRecord Inline(uint64_t length) {
  BufferRecord record;
  record.length = length;
  record.place = static_cast<uint8_t>(Place::kInline);
  return record;
}

TEST(ParseFrame, TakesAWholeFrameApart) {
  BufferRecord leased;
  leased.offset = 4096;
  leased.length = 100;
  leased.segment = 2;
  leased.slot = 3;
  leased.generation = 4;
  leased.readonly = 1;
  BufferRecord part;
  part.length = 7;
  part.place = static_cast<uint8_t>(Place::kPart);
  const std::string inlined = std::string("abc") + std::string(5, '\0');
  const std::string bytes =
      Bytes(Header(6, 3, 3), {leased, Inline(3), part}, "envstream" + inlined);
  const uint64_t sizes[] = {7};
  const auto frame = ParseFrame(AsBytes(bytes), sizes);
  ASSERT_TRUE(frame.ok()) << frame.status();
  EXPECT_EQ(AsText(frame->envelope), "env");
  EXPECT_EQ(AsText(frame->stream), "stream");
  EXPECT_EQ(AsText(frame->inline_bytes.first(3)), "abc");
  ASSERT_EQ(frame->records.size(), 3u);
  EXPECT_EQ(frame->records[0].segment, 2u);
  EXPECT_EQ(frame->records[0].readonly, 1);
}

TEST(ParseFrame, EveryTruncationIsAnError) {
  const std::string bytes = Bytes(Header(6, 3, 1), {Inline(8)}, "envstream12345678");
  ASSERT_TRUE(ParseFrame(AsBytes(bytes), {}).ok());
  for (size_t size = 0; size < bytes.size(); ++size) {
    const auto frame = ParseFrame(AsBytes(bytes).first(size), {});
    EXPECT_EQ(KindOf(frame.status()), ErrorKind::kCorruptMessage) << size;
  }
  EXPECT_FALSE(ParseFrame(AsBytes(bytes + "x"), {}).ok()) << "a byte too many";
}

TEST(ParseFrame, HostileLengthsAreErrorsAndNotAllocations) {
  for (const uint64_t huge : {~uint64_t{0}, uint64_t{1} << 63, uint64_t{1} << 40}) {
    EXPECT_FALSE(ParseFrame(AsBytes(Bytes(Header(huge, 0, 0), {}, "")), {}).ok());
    EXPECT_FALSE(ParseFrame(AsBytes(Bytes(Header(0, 0, 1), {Inline(huge)}, "")), {}).ok());
    EXPECT_FALSE(
        ParseFrame(AsBytes(Bytes(Header(0, 0, 2), {Inline(huge), Inline(huge)}, "")), {}).ok());
  }
  EXPECT_FALSE(ParseFrame(AsBytes(Bytes(Header(0, 0, 1 << 20), {}, "")), {}).ok());
  EXPECT_FALSE(ParseFrame(AsBytes(Bytes(Header(0, 0, 1u << 31), {}, "")), {}).ok());
  EXPECT_FALSE(
      ParseFrame(AsBytes(Bytes(Header(0, 65537, 0), {}, std::string(65537, 'e'))), {}).ok());
}

TEST(ParseFrame, RecordsHaveOneMeaning) {
  const auto parse = [](BufferRecord record, const std::string& rest) {
    return ParseFrame(AsBytes(Bytes(Header(0, 0, 1), {record}, rest)), {}).ok();
  };
  BufferRecord leased;
  leased.length = 1;
  leased.generation = 1;
  EXPECT_TRUE(parse(leased, ""));
  BufferRecord record = leased;
  record.generation = 0;
  EXPECT_FALSE(parse(record, "")) << "generation 0";
  record = leased;
  record.length = 0;
  EXPECT_FALSE(parse(record, "")) << "a lease of nothing";
  record = leased;
  record.readonly = 2;
  EXPECT_FALSE(parse(record, "")) << "read-only 2";
  record = leased;
  record.reserved[9] = 1;
  EXPECT_FALSE(parse(record, "")) << "reserved";
  record = leased;
  record.place = 3;
  EXPECT_FALSE(parse(record, "")) << "place 3";
  record = Inline(0);
  EXPECT_TRUE(parse(record, ""));
  record.slot = 1;
  EXPECT_FALSE(parse(record, "")) << "an inline buffer with a slot";
}

TEST(ParseFrame, PartsMustMatchTheirRecords) {
  BufferRecord part;
  part.length = 7;
  part.place = static_cast<uint8_t>(Place::kPart);
  const std::string bytes = Bytes(Header(0, 0, 1), {part}, "");
  const uint64_t right[] = {7}, wrong[] = {8}, more[] = {7, 7};
  EXPECT_TRUE(ParseFrame(AsBytes(bytes), right).ok());
  EXPECT_FALSE(ParseFrame(AsBytes(bytes), {}).ok());
  EXPECT_FALSE(ParseFrame(AsBytes(bytes), wrong).ok());
  EXPECT_FALSE(ParseFrame(AsBytes(bytes), more).ok());
}

}  // namespace
}  // namespace pannier::wire
