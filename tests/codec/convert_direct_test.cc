// The direct way of Loads: it reads what a pickler writes, and whatever it reads, the general
// way reads alike, also from streams that were damaged.
#include <gtest/gtest.h>

#include <random>

#include "direct_types.h"
#include "pannier/codec/allow_list.h"
#include "pannier/codec/dumps.h"

namespace pannier::codec::direct {
namespace {

// Values of any of the types, with small and large containers, and texts that come again.
class Maker {
 public:
  explicit Maker(uint32_t seed) : random_(seed) {}

  template <class T>
  T Make(int depth = 0) {
    T value{};
    Fill(&value, depth);
    return value;
  }
  size_t Number(size_t most) { return random_() % (most + 1); }

 private:
  template <class T>
  requires std::is_arithmetic_v<T>
  void Fill(T* value, int) {
    if constexpr (std::is_same_v<T, bool>) {
      *value = Number(1) == 0;
    } else if constexpr (std::is_floating_point_v<T>) {
      static constexpr double kSpecial[] = {0.0, -0.0, HUGE_VAL, 1e-310, std::nan("")};
      *value = static_cast<T>(Number(9) == 0 ? kSpecial[Number(4)] : std::ldexp(random_(), -20));
    } else {
      const auto bits = static_cast<uint64_t>(random_()) << 32 | random_();
      *value = static_cast<T>(bits >> (8 * Number(7)));
    }
  }
  void Fill(std::string* text, int) {
    *text = Number(2) == 0 ? "again" : std::to_string(random_());
    if (Number(20) == 0) text->append(300, 'z').append("\u00fc");
  }
  template <class T>
  void Fill(std::optional<T>* value, int depth) {
    if (Number(2) == 0) {
      value->reset();
    } else {
      *value = Make<T>(depth);
    }
  }
  template <class... T>
  void Fill(std::tuple<T...>* tuple, int depth) {
    std::apply([&](T&... items) { (..., Fill(&items, depth)); }, *tuple);
  }
  template <class A, class B>
  void Fill(std::pair<A, B>* pair, int depth) {
    Fill(&pair->first, depth);
    Fill(&pair->second, depth);
  }
  template <class T, size_t kSize>
  void Fill(std::array<T, kSize>* array, int depth) {
    for (T& item : *array) Fill(&item, depth);
  }
  template <class T>
  void Fill(std::vector<T>* vector, int depth) {
    for (size_t left = Size(depth); left > 0; --left) vector->push_back(Make<T>(depth + 1));
  }
  template <class S>
  requires internal::SetLike<S>
  void Fill(S* set, int depth) {
    for (size_t left = Size(depth); left > 0; --left) {
      set->insert(Make<typename S::key_type>(depth + 1));
    }
  }
  template <class M>
  requires internal::MapLike<M>
  void Fill(M* map, int depth) {
    for (size_t left = Size(depth); left > 0; --left) {
      map->emplace(Make<typename M::key_type>(depth + 1), Make<typename M::mapped_type>(depth + 1));
    }
  }
  template <class T>
  requires requires { PythonClass<T>::kFields; }
  void Fill(T* object, int depth) { FillFields(object, PythonClass<T>::kFields, depth); }
  template <class T>
  requires requires { PythonDict<T>::kFields; }
  void Fill(T* object, int depth) { FillFields(object, PythonDict<T>::kFields, depth); }
  template <class T, class Fields>
  void FillFields(T* object, const Fields& fields, int depth) {
    std::apply([&](const auto&... field) { (..., Fill(&(object->*field.member), depth + 1)); },
               fields);
  }
  // Batches have 1000 items.
  size_t Size(int depth) {
    static constexpr size_t kSizes[] = {0, 1, 2, 3, 20, 999, 1000, 1001, 2000, 5500};
    return depth == 0 ? kSizes[Number(9)] : kSizes[Number(depth == 1 ? 4 : 2)];
  }

  std::mt19937 random_;
};

template <class T>
std::string Pickle(const T& value, int protocol) {
  EncodeOptions options;
  options.protocol = protocol;
  return Dumps(value, options).value().stream;
}

template <class T>
class ConvertDirectTest : public testing::Test {};
template <class... T>
testing::Types<T...> ForGtest(Types<T...>);
using GtestTypes = decltype(ForGtest(AllTypes()));
TYPED_TEST_SUITE(ConvertDirectTest, GtestTypes);

TYPED_TEST(ConvertDirectTest, ReadsWhatPicklersWrite) {
  Maker maker(1);
  int direct = 0;
  for (int round = 0; round < 40; ++round) {
    const auto value = maker.Make<TypeParam>();
    for (int protocol = 2; protocol <= 5; ++protocol) {
      const std::string stream = Pickle(value, protocol);
      const StatusOr<TypeParam> read = Loads<TypeParam>(AsBytes(stream));
      ASSERT_TRUE(read.ok()) << read.status();
      ASSERT_TRUE(Same(*read, value));
      const Outcome outcome = Compare<TypeParam>(AsBytes(stream));
      ASSERT_NE(outcome, Outcome::kDiffers);
      direct += protocol >= 4 && outcome == Outcome::kAgrees;
    }
  }
  // Classes are read directly from protocol 4 on; numbers above 2^63 never.
  EXPECT_GE(direct, 70);
}

// Bytes changed, taken out, put in, moved, repeated.
TYPED_TEST(ConvertDirectTest, AgreesOnDamagedStreams) {
  Maker maker(2);
  int read = 0;
  for (int round = 0; round < 300; ++round) {
    const auto value = maker.Make<TypeParam>(/*depth=*/1);
    const std::string whole = Pickle(value, 2 + static_cast<int>(maker.Number(3)));
    for (int damage = 0; damage < 20; ++damage) {
      std::string stream = whole;
      const size_t at = maker.Number(stream.size() - 1);
      const size_t size = std::min(maker.Number(12), stream.size() - at);
      switch (maker.Number(4)) {
        case 0:
          stream[at] = static_cast<char>(maker.Number(255));
          break;
        case 1:
          stream.erase(at, size);
          break;
        case 2:
          stream.insert(at, stream.substr(maker.Number(stream.size()), size));
          break;
        case 3:
          stream.replace(at, size, stream.substr(maker.Number(stream.size()), size));
          break;
        default:
          // Opcodes that picklers write around values.
          stream.insert(at, 1, "\x94]}()euas.bh\x85\x86\x87tNG\x81\x90\x8f"[maker.Number(20)]);
      }
      // Lengths of frames would refuse nearly all.
      if (const size_t frame = stream.find('\x95'); frame == 2 && maker.Number(1) == 0) {
        stream.erase(frame, 9);
      }
      const Outcome outcome = Compare<TypeParam>(AsBytes(stream));
      ASSERT_NE(outcome, Outcome::kDiffers) << testing::PrintToString(stream);
      read += outcome == Outcome::kAgrees;
    }
  }
  EXPECT_GT(read, 0);
}

std::string Concat(std::initializer_list<std::string_view> parts) {
  std::string stream;
  for (const std::string_view part : parts) stream += part;
  return stream;
}

TEST(ConvertDirectFormsTest, EndsOfListsAreAmbiguous) {
  using namespace std::string_view_literals;  // NOLINT: streams hold zeros
  // An empty list, and a list of one, each followed by what could be an item of it.
  const std::string stream =
      Concat({"\x80\x04"sv, "(", "]\x94", "]\x94", "]\x94", "a", "]\x94", "]\x94", "aa", "t."});
  using T = std::tuple<
      std::vector<std::vector<std::vector<int>>>, std::vector<std::vector<std::vector<int>>>,
      std::vector<std::vector<std::vector<int>>>, std::vector<std::vector<std::vector<int>>>>;
  EXPECT_NE(Compare<T>(AsBytes(stream)), Outcome::kDiffers);
  // A list of exactly one batch, before a tuple that begins as a batch does.
  using Pair = std::pair<std::vector<int>, std::tuple<int, int, int, int>>;
  const Pair pair(std::vector<int>(1000, 7), std::tuple(1, 2, 3, 4));
  EXPECT_EQ(Compare<Pair>(AsBytes(Pickle(pair, 4))), Outcome::kAgrees);
  const std::pair<std::vector<int>, std::tuple<int, int, int, int>> empty({}, {1, 2, 3, 4});
  EXPECT_EQ(Compare<Pair>(AsBytes(Pickle(empty, 4))), Outcome::kAgrees);
}

TEST(ConvertDirectFormsTest, WhatTheGeneralWayKnowsBetter) {
  using namespace std::string_view_literals;  // NOLINT: streams hold zeros
  const auto outcome = [](std::string_view stream) {
    return Compare<std::map<std::string, double>>(AsBytes(stream));
  };
  EXPECT_EQ(outcome("\x80\x04}(\x8c\x01kK\x01\x8c\x01jK\x02u."sv), Outcome::kAgrees);
  // Keys that come twice, a text that is no UTF-8, memo entries out of turn, a second PROTO.
  EXPECT_EQ(outcome("\x80\x04}(\x8c\x01kK\x01\x8c\x01kK\x02u."sv), Outcome::kUnknown);
  EXPECT_EQ(outcome("\x80\x04}(\x8c\x01\xffK\x01u."sv), Outcome::kUnknown);
  EXPECT_EQ(outcome("\x80\x04}q\x05(\x8c\x01kK\x01u."sv), Outcome::kUnknown);
  EXPECT_EQ(outcome("\x80\x04\x80\x04}(\x8c\x01kK\x01u."sv), Outcome::kUnknown);
  // A frame that ends inside an opcode, and one that begins in another.
  EXPECT_EQ(outcome("\x80\x04\x95\x04\0\0\0\0\0\0\0}(\x8c\x01kK\x01u."sv), Outcome::kUnknown);
  EXPECT_EQ(outcome("\x80\x04\x95\x12\0\0\0\0\0\0\0}\x95\0\0\0\0\0\0\0\0(\x8c\x01kK\x01u."sv),
            Outcome::kUnknown);
  // Limits are the decoder's.
  DecodeOptions limited;
  limited.limits.opcodes = 3;
  EXPECT_FALSE(Loads<std::vector<int>>(AsBytes("\x80\x04](K\x01K\x02"
                                               "e."sv),
                                       {}, limited)
                   .ok());
  EXPECT_EQ(Loads<std::vector<int>>(AsBytes("\x80\x04](K\x01Ne."sv)).status().message(),
            "value[1]: expected int32, found None");
}

TEST(ConvertDirectFormsTest, WhatTheOptionsAskForIsTheDecoders) {
  using Points = std::vector<Point>;
  const std::string points = Pickle(Points{{1, 2, "a"}, {3, 4, "b"}}, 4);
  const auto loads = [&](const DecodeOptions& options) {
    return Loads<Points>(AsBytes(points), {}, options).status();
  };
  EXPECT_TRUE(loads({}).ok());
  AllowList allow;
  DecodeOptions gated;
  gated.allow = &allow;
  EXPECT_EQ(KindOf(loads(gated)), ErrorKind::kForbiddenGlobal);
  allow.Add(PythonClass<Point>::kModule, PythonClass<Point>::kName);
  EXPECT_TRUE(loads(gated).ok()) << loads(gated);

  std::vector<Value> made;
  DecodeOptions telling;
  telling.made = &made;
  EXPECT_TRUE(loads(telling).ok());
  EXPECT_EQ(made.size(), 3u) << "the class and two instances";

  DecodeOptions limited;
  limited.limits.argument_bytes = 3;
  const std::string texts = Pickle(std::vector<std::string>{"long"}, 4);
  EXPECT_EQ(KindOf(Loads<std::vector<std::string>>(AsBytes(texts), {}, limited).status()),
            ErrorKind::kLimit);
}

}  // namespace
}  // namespace pannier::codec::direct
