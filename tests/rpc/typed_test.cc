// The typed level: C++ values in and out, wrong arguments, and what is copied.
#include <chrono>
#include <cmath>
#include <map>
#include <numeric>
#include <optional>
#include <set>
#include <stdexcept>
#include <tuple>
#include <variant>

#include "pannier/codec/compare.h"
#include "rpc_test_base.h"

namespace pannier {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

struct Point {
  double x = 0, y = 0;
  std::optional<std::string> label;
};

int Add(int a, int b) { return a + b; }

}  // namespace
}  // namespace pannier

template <>
struct pannier::codec::PythonClass<pannier::Point> {
  static constexpr std::string_view kModule = "geometry";
  static constexpr std::string_view kName = "Point";
  static constexpr auto kFields =
      std::tuple(Field("x", &Point::x), Field("y", &Point::y), Field("label", &Point::label));
};

namespace pannier {
namespace {

class TypedCalls : public RpcTest {
 protected:
  void SetUp() override { server_ = NewServer(); }
  void Begin() {
    Start(*server_);
    client_ = Connect(server_->endpoint());
    ASSERT_NE(client_, nullptr);
  }
  // What a T is after it went to the server and back, both ways typed.
  template <class T>
  StatusOr<T> RoundTrip(const T& value) {
    server_->Method("same", [](const T& argument) { return argument; });
    return client_->Call<T>("same", value);
  }
  template <class T>
  void ExpectSame(const T& value) {
    const StatusOr<T> back = RoundTrip(value);
    ASSERT_TRUE(back.ok()) << back.status();
    EXPECT_EQ(*back, value);
  }

  std::unique_ptr<Server> server_;
  std::shared_ptr<Client> client_;
};

TEST_P(TypedCalls, Scalars) {
  Begin();
  ExpectSame(true);
  ExpectSame(int8_t{-128});
  ExpectSame(uint8_t{255});
  ExpectSame(int32_t{-7});
  ExpectSame(std::numeric_limits<int64_t>::min());
  ExpectSame(std::numeric_limits<uint64_t>::max());
  ExpectSame(1.5f);
  ExpectSame(0.1);
  ExpectSame(std::complex<double>(1, -2));
  ExpectSame(std::string("gr\xC3\xBC\xC3\x9F"));
  ExpectSame(std::string());
  ExpectSame(std::vector<std::byte>{std::byte{0}, std::byte{255}});
  ExpectSame(std::monostate());
}

TEST_P(TypedCalls, Containers) {
  Begin();
  ExpectSame(std::optional<int>());
  ExpectSame(std::optional<int>(3));
  ExpectSame(std::vector<std::string>{"a", "b"});
  ExpectSame(std::vector<std::vector<int>>{{1}, {}, {2, 3}});
  ExpectSame(std::array<double, 3>{1, 2, 3});
  ExpectSame(std::tuple<int, std::string, double>(1, "x", 2.5));
  ExpectSame(std::pair<int, bool>(1, true));
  ExpectSame(std::map<std::string, std::vector<int>>{{"a", {1}}, {"b", {}}});
  ExpectSame(std::set<int>{3, 1, 2});
  ExpectSame(std::variant<int, std::string>(std::string("either")));
  ExpectSame(std::chrono::milliseconds(1500));
  ExpectSame(absl::FromUnixMicros(1'700'000'000'123'456));
}

TEST_P(TypedCalls, Classes) {
  Begin();
  const auto back = RoundTrip(Point{1, 2, "origin"});
  ASSERT_TRUE(back.ok()) << back.status();
  EXPECT_EQ(back->x, 1);
  EXPECT_EQ(back->y, 2);
  EXPECT_EQ(back->label, "origin");
}

TEST_P(TypedCalls, EveryKindOfCallable) {
  server_->Method("function", Add);
  server_->Method("pointer", &Add);
  server_->Method("std_function", std::function<int(int, int)>(Add));
  server_->Method("move_only", [two = std::make_unique<int>(2)](int a) { return a * *two; });
  server_->Method("mutable", [count = 0]() mutable { return ++count; });
  server_->Method("noexcept", [](int a) noexcept { return -a; });
  server_->Method("view", [](std::string_view text, const std::string& more) {
    return std::string(text) + more;
  });
  server_->Method("borrowed", [](std::string_view text) { return text.substr(1); });
  std::atomic<int> ran{0};
  server_->Method("void", [&ran] { ++ran; });
  server_->Method("status", [](bool fail) {
    return fail ? MakeError(ErrorKind::kLimit, "too much") : absl::OkStatus();
  });
  server_->Method("status_or", [](int a) -> StatusOr<int> {
    if (a < 0) return MakeError(ErrorKind::kInvalidArgument, "negative");
    return a + 1;
  });
  Begin();
  EXPECT_EQ(*client_->Call<int>("function", 1, 2), 3);
  EXPECT_EQ(*client_->Call<int>("pointer", 1, 2), 3);
  EXPECT_EQ(*client_->Call<int>("std_function", 1, 2), 3);
  EXPECT_EQ(*client_->Call<int>("move_only", 4), 8);
  EXPECT_EQ(*client_->Call<int>("mutable"), 1);
  EXPECT_EQ(*client_->Call<int>("mutable"), 2);
  EXPECT_EQ(*client_->Call<int>("noexcept", 4), -4);
  EXPECT_EQ(*client_->Call<std::string>("view", "ab", std::string_view("cd")), "abcd");
  EXPECT_EQ(*client_->Call<std::string>("borrowed", "xyz"), "yz");
  EXPECT_TRUE(client_->Call<void>("void").ok());
  EXPECT_TRUE(client_->Call<std::nullptr_t>("void").ok());
  EXPECT_EQ(ran, 2);
  EXPECT_TRUE(client_->Call<void>("status", false).ok());
  EXPECT_TRUE(client_->Call<std::monostate>("status", false).ok());
  EXPECT_EQ(KindOf(client_->Call<void>("status", true)), ErrorKind::kLimit);
  EXPECT_EQ(*client_->Call<int>("status_or", 1), 2);
  EXPECT_EQ(KindOf(client_->Call<int>("status_or", -1)), ErrorKind::kInvalidArgument);
  EXPECT_TRUE(client_->Call<void>("status_or", 1).ok());  // the result is passed over
}

TEST_P(TypedCalls, WrongArguments) {
  server_->Method("scale", [](ArrayView<const float> x, float) { return x.size(); });
  server_->Method("none", [] {});
  Begin();
  auto failed = client_->Call<size_t>("scale", 1);
  EXPECT_EQ(KindOf(failed), ErrorKind::kInvalidArgument);
  EXPECT_THAT(TextOf(failed), HasSubstr("scale(): expected 2 arguments, found 1"));
  failed = client_->Call<size_t>("scale", Array<float>::Zeros({2}), "three");
  EXPECT_EQ(KindOf(failed), ErrorKind::kInvalidArgument);
  EXPECT_THAT(TextOf(failed), AllOf(HasSubstr("scale(): argument 1"), HasSubstr("expected float"),
                                    HasSubstr("found str 'three'")));
  failed = client_->Call<size_t>("scale", Array<double>::Zeros({2}), 1.0);
  EXPECT_EQ(KindOf(failed), ErrorKind::kInvalidArgument);
  EXPECT_THAT(TextOf(failed),
              AllOf(HasSubstr("argument 0"), HasSubstr("float32"), HasSubstr("float64")));
  const Status none = client_->Call<void>("none", 1);
  EXPECT_THAT(std::string(none.message()), HasSubstr("none(): expected 0 arguments, found 1"));
  // Keywords are Python's.
  codec::Document document;
  document.set_root(document.NewTuple({document.NewTuple({}), document.NewDict()}));
  const auto pickled = codec::Encode(document);
  const auto keywords =
      client_->CallRaw("none", {.stream = AsBytes(pickled->stream), .keywords = true}, Soon());
  EXPECT_EQ(KindOf(keywords), ErrorKind::kInvalidArgument);
  EXPECT_THAT(TextOf(keywords), HasSubstr("none(): this method is C++"));
  // No pickle at all.
  const auto garbage = client_->CallRaw("none", {.stream = AsBytes("garbage")}, Soon());
  EXPECT_EQ(KindOf(garbage), ErrorKind::kUnpickling);
  EXPECT_TRUE(client_->Call<void>("none").ok());
}

TEST_P(TypedCalls, ResultOfAnotherType) {
  server_->Method("text", [] { return "text"; });
  Begin();
  const auto failed = client_->Call<int>("text");
  EXPECT_EQ(KindOf(failed), ErrorKind::kUnpickling);
  EXPECT_THAT(TextOf(failed), AllOf(HasSubstr("result of 'text' at " + server_->endpoint()),
                                    HasSubstr("found str 'text'")));
  EXPECT_FALSE(RemoteFailureOf(failed.status()).has_value());
}

TEST_P(TypedCalls, ArgumentsThatCannotBePickled) {
  Begin();
  const auto failed = client_->Call<int>("any", "\xff\xfe");
  EXPECT_EQ(KindOf(failed), ErrorKind::kPickling);
  EXPECT_THAT(TextOf(failed), HasSubstr("arguments of 'any'"));
}

TEST_P(TypedCalls, ThrowingMethods) {
  server_->Method("throw", [](int) -> int { throw std::runtime_error("lens cap on"); });
  Begin();
  const auto failed = client_->Call<int>("throw", 1);
  EXPECT_EQ(KindOf(failed), ErrorKind::kRemote);
  EXPECT_EQ(RemoteFailureOf(failed.status())->qualname, "std::runtime_error");
  EXPECT_EQ(RemoteFailureOf(failed.status())->message, "lens cap on");
}

TEST_P(TypedCalls, Deadlines) {
  server_->Method("sleep", [](int milliseconds) {
    std::this_thread::sleep_for(std::chrono::milliseconds(milliseconds));
  });
  Begin();
  EXPECT_EQ(KindOf(client_->Call<void>({.deadline = In(absl::Milliseconds(30))}, "sleep", 200)),
            ErrorKind::kDeadlineExceeded);
  EXPECT_TRUE(client_->Call<void>({.deadline = Soon()}, "sleep", 0).ok());
}

TEST_P(TypedCalls, LargeArraysAreCopiedOnceOrNotAtAll) {
  server_->Method("scale", [](ArrayView<const float> x, float k) {
    auto y = Array<float>::LikeShape(x);
    std::ranges::transform(x.flat(), y.flat().begin(), [k](float v) { return k * v; });
    return y;
  });
  Begin();
  const std::shared_ptr<Pool> pool = client_->pool();
  auto x = Array<float>::OfShape({512, 1024});
  std::iota(x.flat().begin(), x.flat().end(), 0.0f);
  ASSERT_TRUE(pool->Contains(x.buffer().data(), x.buffer().size()));
  const uint64_t before = pool->Stats().copied_bytes;
  for (int i = 0; i < 3; ++i) {
    const auto y = client_->Call<Array<float>>("scale", x, 2.0f);
    ASSERT_TRUE(y.ok()) << y.status();
    EXPECT_THAT(y->shape(), ElementsAre(512, 1024));
    EXPECT_EQ((*y)(511, 1023), 2.0f * (512 * 1024 - 1));
  }
  const ConnectionStats stats = client_->Stats();
  if (GetParam().link) {
    EXPECT_EQ(pool->Stats().copied_bytes, before);  // both sides are this process
    EXPECT_EQ(stats.copied_bytes, 0u);
    EXPECT_EQ(stats.leased_bytes_sent, 3 * x.any().size_bytes());
    EXPECT_EQ(stats.leased_bytes_received, 3 * x.any().size_bytes());
  } else {
    EXPECT_EQ(stats.leased_bytes_sent, 0u);
    EXPECT_EQ(stats.inline_bytes_sent, 3 * x.any().size_bytes());
  }
  // From elsewhere: copied once, into the pool.
  std::vector<float> heap(1 << 16, 1.0f);
  const auto view = ArrayView<const float>::Over(heap, {1 << 16});
  ASSERT_TRUE(client_->Call<Array<float>>("scale", *view, 3.0f).ok());
  if (GetParam().link) {
    EXPECT_EQ(pool->Stats().copied_bytes, before + heap.size() * sizeof(float));
  }
}

TEST_P(TypedCalls, ResultsLieInTheServersOwnPool) {
  ServerOptions options;
  const auto pool = Pool::Create({.quota = 64 << 20, .name = "server's"});
  ASSERT_TRUE(pool.ok()) << pool.status();
  options.transport.pool = *pool;
  server_ = NewServer(options);
  server_->Method("zeros", [](size_t size) { return Array<double>::Zeros({size}); });
  Begin();
  {
    const auto zeros = client_->Call<Array<double>>("zeros", 100000);
    ASSERT_TRUE(zeros.ok()) << zeros.status();
    EXPECT_EQ(zeros->size(), 100000u);
    if (GetParam().link) {
      EXPECT_EQ((*pool)->Stats().blocks, 1u);  // leased to the client
    }
  }
  EXPECT_EQ((*pool)->Stats().allocations, 1u);
  EXPECT_EQ((*pool)->Stats().copied_bytes, 0u);
  // The server's own hold on it ends when it has sent the result.
  const Deadline give_up = Soon();
  while ((*pool)->Stats().blocks != 0 && !give_up.Passed()) std::this_thread::yield();
  EXPECT_EQ((*pool)->Stats().blocks, 0u);
  EXPECT_FALSE((*pool)->Contains(AllocateBuffer(1 << 20).data(), 1));  // here: the default pool
}

TEST_P(TypedCalls, ViewsOutliveTheCall) {
  std::vector<ArrayView<const double>> kept;  // by the server
  server_->Method("keep", [&kept](ArrayView<const double> x) {
    kept.push_back(x);
    return x;
  });
  Begin();
  StatusOr<ArrayView<const double>> back = absl::UnknownError("not called");
  {
    auto x = Array<double>::OfShape({100000});
    x.Fill(7);
    back = client_->Call<ArrayView<const double>>("keep", x);
  }
  ASSERT_TRUE(back.ok()) << back.status();
  client_.reset();
  server_->Stop();
  ASSERT_TRUE(server_->Wait().ok());
  ASSERT_EQ(kept.size(), 1u);
  EXPECT_EQ(kept[0](99999), 7);
  EXPECT_EQ((*back)(0), 7);
  EXPECT_EQ(back->size(), 100000u);
}

TEST_P(TypedCalls, ReceivedArraysMayBeChangedAndNobodySeesIt) {
  Array<double> last;
  server_->Method("zero", [](ArrayView<double> x) {
    std::ranges::fill(x.flat(), 0.0);
    return x(0);
  });
  Begin();
  auto x = Array<double>::OfShape({100000});
  x.Fill(7);
  EXPECT_EQ(*client_->Call<double>("zero", x), 0);
  EXPECT_EQ(x(0), 7);
  EXPECT_EQ(x(99999), 7);
}

TEST_P(TypedCalls, DynamicValues) {
  server_->DynamicMethod("first", [](codec::Document& arguments) -> StatusOr<codec::Value> {
    if (arguments.root().size() == 0) return MakeError(ErrorKind::kInvalidArgument, "no first");
    return arguments.root().items()[0];
  });
  server_->Method("count", [](const codec::Value& any, codec::Document copy) {
    return std::pair<std::string, size_t>(codec::KindName(any.kind()), copy.root().size());
  });
  Begin();
  codec::Document arguments;
  const codec::Value dict = arguments.NewDict();
  arguments.SetItem(dict, "frames", arguments.NewList());
  arguments.SetItem(
      dict, "path",
      arguments.NewReduce(arguments.NewGlobal("pathlib", "PosixPath"), {arguments.NewStr("/tmp")}));
  Buffer bytes = Buffer::OfHeap(100000);
  std::memset(bytes.mutable_data(), 'q', bytes.size());
  arguments.SetItem(dict, "data", arguments.NewBuffer(bytes));
  arguments.set_root(arguments.NewTuple({dict}));
  const auto back = client_->CallDynamic({}, "first", arguments);
  ASSERT_TRUE(back.ok()) << back.status();
  client_->Close();  // the Document stands alone
  EXPECT_TRUE(codec::Equal(*back, back->root(), arguments, dict));
  ASSERT_EQ(back->buffers().size(), 1u);
  EXPECT_EQ(AsText(back->buffers()[0].span()), std::string(100000, 'q'));

  client_ = Connect(server_->endpoint());
  arguments.set_root(dict);
  EXPECT_EQ(KindOf(client_->CallDynamic({}, "first", arguments)), ErrorKind::kInvalidArgument);
  arguments.set_root(arguments.NewTuple({}));
  const auto failed = client_->CallDynamic({}, "first", arguments);
  EXPECT_EQ(KindOf(failed), ErrorKind::kInvalidArgument);
  EXPECT_TRUE(RemoteFailureOf(failed.status()).has_value());
  const auto count = client_->Call<std::pair<std::string, size_t>>("count", std::vector<int>{1},
                                                                   std::vector<int>{1, 2, 3});
  ASSERT_TRUE(count.ok()) << count.status();
  EXPECT_EQ(*count, std::pair(std::string("list"), size_t{3}));
}

TEST_P(TypedCalls, MethodsMayCallOtherServers) {
  auto inner = NewServer();
  inner->Method("twice", [](int a) -> StatusOr<int> {
    if (a > 100) return MakeError(ErrorKind::kLimit, "above 100");
    return 2 * a;
  });
  Start(*inner);
  const auto inner_client = Connect(inner->endpoint());
  server_->Method("four_times", [inner_client](int a) -> StatusOr<int> {
    PANNIER_ASSIGN_OR_RETURN(const int twice, inner_client->Call<int>("twice", a));
    return inner_client->Call<int>("twice", twice);
  });
  Begin();
  EXPECT_EQ(*client_->Call<int>("four_times", 3), 12);
  // The innermost failure is what comes back.
  const auto failed = client_->Call<int>("four_times", 60);
  EXPECT_EQ(KindOf(failed), ErrorKind::kLimit);
  EXPECT_EQ(RemoteFailureOf(failed.status())->message, "above 100");
}

INSTANTIATE_TEST_SUITE_P(Ways, TypedCalls, ::testing::ValuesIn(kWays), WayName);

}  // namespace
}  // namespace pannier
