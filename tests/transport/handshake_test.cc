#include "pannier/transport/handshake.h"

#include <gtest/gtest.h>

namespace pannier::wire {
namespace {

Hello SomeHello() {
  return {1, 3, true, {uint64_t{1} << 40, 77, uint64_t{1} << 33}, "program (pid 12)"};
}

// Every prefix of a body is an error, the body itself and anything longer is not.
template <typename Parse>
void ExpectExactly(const std::string& body, Parse parse) {
  for (size_t size = 0; size < body.size(); ++size) {
    EXPECT_EQ(KindOf(parse(AsBytes(body).first(size)).status()), ErrorKind::kCorruptMessage)
        << size;
  }
  EXPECT_TRUE(parse(AsBytes(body)).ok());
  EXPECT_TRUE(parse(AsBytes(body + "fields of a later version")).ok());
}

TEST(Handshake, BodiesSurviveTheRoundTripAndTruncationIsAnError) {
  const auto hello = ParseHello(AsBytes(Serialize(SomeHello())));
  ASSERT_TRUE(hello.ok());
  EXPECT_EQ(hello->greatest_version, 3);
  EXPECT_TRUE(hello->wants_link);
  EXPECT_EQ(hello->limits.max_message_bytes, uint64_t{1} << 40);
  EXPECT_EQ(hello->limits.window_messages, 77u);
  EXPECT_EQ(hello->name, "program (pid 12)");
  ExpectExactly(Serialize(SomeHello()), ParseHello);

  Welcome welcome{1, {1, 2, 3}, {1, 2, 3}, "pannier-00"};
  EXPECT_EQ(ParseWelcome(AsBytes(Serialize(welcome)))->link_name, "pannier-00");
  EXPECT_EQ(ParseWelcome(AsBytes(Serialize(welcome)))->token, welcome.token);
  for (const bool lane : {false, true}) {
    welcome.lane = lane;
    EXPECT_EQ(ParseWelcome(AsBytes(Serialize(welcome)))->lane, lane);
  }
  ExpectExactly(Serialize(welcome), ParseWelcome);
  ExpectExactly(Serialize(Reason{ErrorKind::kLimit, "too much"}), ParseReason);
  ExpectExactly(Serialize(Ready{true, ""}), ParseReady);
  ExpectExactly(Serialize(Offer{{4, 5}, "pannier-01"}), ParseOffer);
  EXPECT_EQ(ParseOffer(AsBytes(Serialize(Offer{{4, 5}, "pannier-01"})))->link_name, "pannier-01");
  ExpectExactly(Serialize(Credit{5, 6}), ParseCredit);
}

TEST(Handshake, ValuesOutOfRangeAreErrors) {
  Hello hello = SomeHello();
  hello.limits.window_messages = 0;
  EXPECT_FALSE(ParseHello(AsBytes(Serialize(hello))).ok());
  EXPECT_FALSE(ParseWelcome(AsBytes(Serialize(Welcome{2, {1, 1, 1}, {}, ""}))).ok());
  EXPECT_FALSE(ParseReason(AsBytes(Serialize(Reason{static_cast<ErrorKind>(200), ""}))).ok());
}

TEST(AgreeOnVersion, TakesTheGreatestThatBothSpeak) {
  const auto agree = [](uint16_t least, uint16_t greatest) {
    Hello hello = SomeHello();
    hello.least_version = least;
    hello.greatest_version = greatest;
    return AgreeOnVersion(hello);
  };
  EXPECT_EQ(*agree(1, 1), 1);
  EXPECT_EQ(*agree(0, 9), 1);
  EXPECT_EQ(KindOf(agree(2, 9).status()), ErrorKind::kRefused);
  EXPECT_EQ(KindOf(agree(0, 0).status()), ErrorKind::kRefused);
  EXPECT_EQ(KindOf(agree(3, 1).status()), ErrorKind::kRefused);
}

TEST(Handshake, LongTextsAreCutNotRefused) {
  const Reason reason{ErrorKind::kRefused, std::string(5000, 'x')};
  EXPECT_EQ(ParseReason(AsBytes(Serialize(reason)))->text.size(), 1024u);
}

}  // namespace
}  // namespace pannier::wire
