// The direct way of Dumps writes the bytes of the general one, or nothing.
#include "pannier/codec/direct_writer.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <limits>
#include <string>
#include <string_view>
#include <tuple>

#include "pannier/codec/dumps.h"

namespace pannier::codec {
namespace {

// An option of no effect, which the direct way leaves to the general one.
template <class T>
std::string General(const T& object) {
  const auto encoded = Dumps(object, {.max_stream_bytes = uint64_t{1} << 40});
  EXPECT_TRUE(encoded.ok()) << encoded.status();
  return encoded.ok() ? encoded->stream : "";
}

template <class T>
bool WrittenDirectly(const T& object) {
  static_assert(kWritesDirectly<T>);
  DirectWriter out;
  if (!internal::DirectWriting<T>::Write(out, object)) return false;
  EXPECT_EQ(out.Finish(), General(object));
  return true;
}

TEST(DirectWriterTest, WritesNumbersAsTheGeneralWayDoes) {
  for (int bits = 0; bits < 64; ++bits) {
    for (const int64_t off : {-1, 0, 1}) {
      const auto number = static_cast<int64_t>((uint64_t{1} << bits) + static_cast<uint64_t>(off));
      EXPECT_TRUE(WrittenDirectly(number)) << number;
      EXPECT_TRUE(WrittenDirectly(~number)) << ~number;
      EXPECT_TRUE(WrittenDirectly(std::tuple(number, -0.0))) << number;
    }
  }
  EXPECT_TRUE(WrittenDirectly(std::numeric_limits<int64_t>::min()));
  EXPECT_TRUE(WrittenDirectly(uint8_t{255}));
  EXPECT_FALSE(WrittenDirectly(std::numeric_limits<uint64_t>::max()));
  for (const double number : {0.0, -0.0, 1.5, -1e300, 5e-324, HUGE_VAL, std::nan("")}) {
    EXPECT_TRUE(WrittenDirectly(number));
    EXPECT_TRUE(WrittenDirectly(static_cast<float>(number)));
  }
  EXPECT_TRUE(WrittenDirectly(true));
  EXPECT_TRUE(WrittenDirectly(false));
  EXPECT_TRUE(WrittenDirectly(nullptr));
}

TEST(DirectWriterTest, WritesShortTextsAsTheGeneralWayDoes) {
  for (const size_t size : {0, 1, 2, 15, 16, 254, 255}) {
    const std::string text(size, 'x');
    EXPECT_TRUE(WrittenDirectly(text)) << size;
    EXPECT_TRUE(WrittenDirectly(std::string_view(text))) << size;
    EXPECT_TRUE(WrittenDirectly(std::tuple<const std::string&, int>(text, 1))) << size;
  }
  EXPECT_FALSE(WrittenDirectly(std::string(256, 'x')));
  EXPECT_FALSE(WrittenDirectly(std::string("\u00fc")));
  const std::string same = "twice";  // two objects, as each argument is one
  EXPECT_TRUE(WrittenDirectly(std::tuple<const std::string&, const std::string&>(same, same)));
  const char text[] = "an array";
  EXPECT_TRUE(WrittenDirectly(std::tuple<const char(&)[9]>(text)));
}

TEST(DirectWriterTest, WritesTuplesOfAllLengths) {
  EXPECT_TRUE(WrittenDirectly(std::tuple()));
  EXPECT_TRUE(WrittenDirectly(std::tuple(1)));
  EXPECT_TRUE(WrittenDirectly(std::tuple(1, true)));
  EXPECT_TRUE(WrittenDirectly(std::tuple(1, 2.0, std::string("c"))));
  EXPECT_TRUE(WrittenDirectly(std::tuple(1, 2, 3, 4)));
  EXPECT_TRUE(WrittenDirectly(std::tuple(std::tuple(), std::tuple(1), std::tuple(1, 2, 3, 4, 5))));
}

TEST(DirectWriterTest, LeavesToTheGeneralWayWhatHasNoRoom) {
  const std::string text(250, 'x');
  EXPECT_TRUE(WrittenDirectly(std::tuple(text, text)));
  EXPECT_FALSE(WrittenDirectly(std::tuple(text, text, 1)));
  const auto encoded = Dumps(std::tuple(text, text, 1));
  ASSERT_TRUE(encoded.ok());
  EXPECT_EQ(encoded->stream, General(std::tuple(text, text, 1)));
}

TEST(DirectWriterTest, OptionsAreTheGeneralWays) {
  const auto old = Dumps(int64_t{7}, {.protocol = 2});
  ASSERT_TRUE(old.ok());
  EXPECT_EQ(old->stream, "\x80\x02K\x07.");
  EXPECT_FALSE(Dumps(int64_t{7}, {.max_stream_bytes = 1}).ok());
}

}  // namespace
}  // namespace pannier::codec
