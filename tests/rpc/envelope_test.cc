// Envelopes by themselves, and what peers do that send strange ones.
#include "pannier/rpc/envelope.h"

#include <cstring>

#include "rpc_test_base.h"

namespace pannier {
namespace {

using rpc::EnvelopeHeader;
using rpc::EnvelopeKind;
using ::testing::HasSubstr;

std::string Bytes(const rpc::EnvelopeBytes& envelope) {
  return std::string(AsText(envelope.span()));
}

TEST(Envelope, RequestRoundTrip) {
  const std::string bytes = Bytes(
      rpc::RequestEnvelope(7, "scale", rpc::kFlagKeywords, Deadline::After(absl::Seconds(5))));
  const auto parsed = rpc::ParseEnvelope(AsBytes(bytes));
  ASSERT_TRUE(parsed.ok()) << parsed.status();
  EXPECT_TRUE(parsed->known());
  EXPECT_EQ(parsed->kind(), EnvelopeKind::kRequest);
  EXPECT_EQ(parsed->header.call_id, 7u);
  EXPECT_EQ(parsed->header.flags, rpc::kFlagKeywords);
  EXPECT_EQ(parsed->method, "scale");
  EXPECT_LE(parsed->header.remaining_ns, 5'000'000'000u);
  EXPECT_GT(parsed->header.remaining_ns, 4'000'000'000u);
  const Deadline deadline = rpc::DeadlineOf(parsed->header, true);
  EXPECT_LE(deadline.Remaining(), absl::Seconds(5));
  EXPECT_GT(deadline.Remaining(), absl::Seconds(4));
}

// The bytes that docs/wire_format.md states.
TEST(Envelope, Layout) {
  std::string bytes = Bytes(rpc::RequestEnvelope(0x0102030405060708, "ab", 0, Deadline::Never()));
  ASSERT_EQ(bytes.size(), 42u);
  bytes.replace(24, 8, 8, '\0');  // the time it was sent
  const std::string expected =
      std::string("PNRC\x01\x00\x01\x00", 8) + std::string("\x08\x07\x06\x05\x04\x03\x02\x01", 8) +
      std::string(8, '\xff') + std::string(8, '\0') + std::string("\x02\x00\0\0\0\0\0\0ab", 10);
  EXPECT_EQ(bytes, expected);
  EXPECT_EQ(Bytes(rpc::PlainEnvelope(rpc::EnvelopeKind::kReply, 1)).size(), 40u);
  const std::string error = Bytes(rpc::ErrorEnvelope(
      1, {.kind = ErrorKind::kRemote, .module = "m", .qualname = "qq", .message = "mmm"}));
  EXPECT_EQ(error.substr(40),
            std::string("\x06\0\0\0\x01\0\0\0\x02\0\0\0\x03\0\0\0\0\0\0\0", 20) + "mqqmmm");
}

TEST(Envelope, DeadlineCountsTimeUnderWayOnOneHost) {
  EnvelopeHeader header;
  EXPECT_TRUE(rpc::DeadlineOf(header, true).never());
  header.remaining_ns = 0;
  EXPECT_TRUE(rpc::DeadlineOf(header, false).Passed());
  header.remaining_ns = 1'000'000'000;
  header.sent_at_ns = 1;  // long ago
  EXPECT_TRUE(rpc::DeadlineOf(header, true).Passed());
  EXPECT_FALSE(rpc::DeadlineOf(header, false).Passed());
  header.sent_at_ns = ~uint64_t{0};  // in the future: not believed
  EXPECT_FALSE(rpc::DeadlineOf(header, true).Passed());
  EXPECT_LE(rpc::DeadlineOf(header, true).Remaining(), absl::Seconds(1));
  header.remaining_ns = ~uint64_t{0} - 1;
  EXPECT_GT(rpc::DeadlineOf(header, false).Remaining(), absl::Hours(1000));
}

TEST(Envelope, TruncatedIsCorruptAtEveryLength) {
  const std::string request = Bytes(rpc::RequestEnvelope(7, "scale", 0, Deadline::Never()));
  for (size_t size = 0; size < request.size(); ++size) {
    EXPECT_EQ(KindOf(rpc::ParseEnvelope(AsBytes(request).first(size))), ErrorKind::kCorruptMessage)
        << size;
  }
  const std::string failure = rpc::SerializeFailure({.module = "a", .message = "bc"});
  for (size_t size = 0; size < failure.size(); ++size) {
    EXPECT_EQ(KindOf(rpc::ParseFailure(AsBytes(failure).first(size), nullptr)),
              ErrorKind::kCorruptMessage)
        << size;
  }
}

TEST(Envelope, LaterVersionsAreKnownForWhatTheyAre) {
  std::string bytes = Bytes(rpc::PlainEnvelope(rpc::EnvelopeKind::kReply, 9)).substr(0, 16);
  bytes[4] = 2;
  const auto parsed = rpc::ParseEnvelope(AsBytes(bytes));
  ASSERT_TRUE(parsed.ok()) << parsed.status();
  EXPECT_FALSE(parsed->known());
  EXPECT_EQ(parsed->header.call_id, 9u);
  EXPECT_THAT(rpc::DescribeUnknown(*parsed), HasSubstr("version 2"));
}

TEST(Envelope, ErrorsAreCutToWhatAnEnvelopeHolds) {
  RemoteFailure failure;
  failure.module = std::string(5000, 'm');
  failure.qualname = std::string(5000, 'q');
  for (int i = 0; i < 40000; ++i) failure.message += "\xC3\xA9";  // é
  failure.message.insert(0, "x");
  failure.traceback = std::string(100000, 't') + "the cause";
  const std::string bytes = Bytes(rpc::ErrorEnvelope(1, failure));
  EXPECT_LE(bytes.size(), 65536u);
  const auto parsed = rpc::ParseEnvelope(AsBytes(bytes));
  ASSERT_TRUE(parsed.ok());
  const auto cut = rpc::ParseFailure(parsed->rest, nullptr);
  ASSERT_TRUE(cut.ok()) << cut.status();
  EXPECT_EQ(cut->message.size(), (16u << 10) - 1);  // a whole number of characters
  EXPECT_EQ(cut->traceback.size(), 40u << 10);
  EXPECT_TRUE(cut->traceback.ends_with("the cause"));
  EXPECT_EQ(cut->module.size(), 1024u);
}

TEST(Envelope, UnknownErrorKindsAreRemoteErrors) {
  std::string bytes = rpc::SerializeFailure({.message = "m"});
  bytes[0] = '\x7f';
  EXPECT_EQ(rpc::ParseFailure(AsBytes(bytes), nullptr)->kind, ErrorKind::kRemote);
}

TEST(RemoteError, LivesInAStatus) {
  EXPECT_FALSE(RemoteFailureOf(absl::OkStatus()).has_value());
  EXPECT_FALSE(RemoteFailureOf(MakeError(ErrorKind::kLimit, "x")).has_value());
  const Status status = Annotate(
      MakeRemoteError({.module = "builtins", .qualname = "KeyError", .message = "'a'"}), "call");
  EXPECT_EQ(status.message(), "call: KeyError: 'a'");
  EXPECT_EQ(RemoteFailureOf(status)->qualname, "KeyError");
  const RemoteFailure own = FailureFrom(MakeError(ErrorKind::kLimit, "too much"));
  EXPECT_EQ(own.kind, ErrorKind::kLimit);
  EXPECT_EQ(MakeRemoteError(own).message(), "too much");
}

// Peers that speak the transport but not calls.
class StrangePeers : public RpcTest {
 protected:
  void SetUp() override {
    server_ = NewServer();
    server_->RawMethod("echo", [](RawCall& call) -> StatusOr<RawResult> {
      return RawResult{std::move(call.stream), {}};
    });
    Start(*server_);
  }
  std::shared_ptr<Connection> ConnectBare() {
    auto connection = Connection::Connect(server_->endpoint(), Transport(), Soon());
    EXPECT_TRUE(connection.ok()) << connection.status();
    return *connection;
  }
  // Sends `envelope`; the error that comes back, with the id of the call that it names.
  StatusOr<std::pair<uint64_t, RemoteFailure>> Ask(Connection& connection,
                                                   const std::string& envelope) {
    PANNIER_RETURN_IF_ERROR(connection.Send({.envelope = AsBytes(envelope)}, Soon()));
    PANNIER_ASSIGN_OR_RETURN(const pannier::Message message, connection.Receive(Soon()));
    PANNIER_ASSIGN_OR_RETURN(const rpc::Envelope parsed,
                             rpc::ParseEnvelope(message.envelope.span()));
    if (parsed.kind() != EnvelopeKind::kError) return absl::NotFoundError("no error came back");
    PANNIER_ASSIGN_OR_RETURN(RemoteFailure failure, rpc::ParseFailure(parsed.rest, nullptr));
    return std::pair(parsed.header.call_id, std::move(failure));
  }
  std::unique_ptr<Server> server_;
};

TEST_P(StrangePeers, MalformedEnvelopeEndsThatConnectionAlone) {
  const auto client = Connect(server_->endpoint());
  for (const std::string& bad :
       {std::string(), std::string("short"), std::string(100, 'x'),
        Bytes(rpc::RequestEnvelope(3, "echo", 0, Deadline::Never())).substr(0, 42),
        Bytes(rpc::PlainEnvelope(rpc::EnvelopeKind::kReply, 3))}) {
    const auto connection = ConnectBare();
    const auto answer = Ask(*connection, bad);
    ASSERT_TRUE(answer.ok()) << answer.status();
    EXPECT_EQ(answer->first, rpc::kNoCall);
    EXPECT_EQ(answer->second.kind, ErrorKind::kCorruptMessage);
    EXPECT_EQ(KindOf(connection->Receive(Soon())), ErrorKind::kConnectionLost);
    EXPECT_TRUE(client->CallRaw("echo", {}, Soon()).ok());
  }
}

TEST_P(StrangePeers, UnknownVersionsKindsAndFlagsAreAnsweredAndTheConnectionGoesOn) {
  const auto connection = ConnectBare();
  const std::string good = Bytes(rpc::RequestEnvelope(3, "echo", 0, Deadline::Never()));
  std::string version = good, kind = good, flags = good;
  version[4] = 2;
  kind[6] = 77;
  flags[7] = '\x80';
  for (const std::string& later : {version, kind, flags}) {
    const auto answer = Ask(*connection, later);
    ASSERT_TRUE(answer.ok()) << answer.status();
    EXPECT_EQ(answer->first, 3u);
    EXPECT_EQ(answer->second.kind, ErrorKind::kCorruptMessage);
  }
  // A cancel of what does not run is passed over.
  ASSERT_TRUE(
      connection
          ->Send({.envelope = AsBytes(Bytes(rpc::PlainEnvelope(rpc::EnvelopeKind::kCancel, 3)))},
                 Soon())
          .ok());
  ASSERT_TRUE(connection->Send({.envelope = AsBytes(good), .stream = AsBytes("s")}, Soon()).ok());
  const auto reply = connection->Receive(Soon());
  ASSERT_TRUE(reply.ok()) << reply.status();
  EXPECT_EQ(AsText(reply->stream.span()), "s");
}

// A server that answers as no server does.
class StrangeServers : public RpcTest {
 protected:
  // What a client makes of `envelope` as the answer to its first call, whose id is 1.
  StatusOr<RawResult> AnswerWith(const std::string& envelope) {
    auto listener = Listener::Listen(NewEndpoint(GetParam()), Transport());
    if (!listener.ok()) return listener.status();
    std::thread server([&] {
      const auto connection = (*listener)->Accept(Soon());
      if (!connection.ok() || !(*connection)->Receive(Soon()).ok()) return;
      (*connection)->Send({.envelope = AsBytes(envelope)}, Soon()).IgnoreError();
      (*connection)->Receive(Soon()).IgnoreError();  // until the client is gone
    });
    client_ = Connect((*listener)->endpoint());
    StatusOr<RawResult> result = client_->CallRaw("m", {}, Soon());
    status_ = client_->status();
    client_.reset();
    server.join();
    return result;
  }
  std::shared_ptr<Client> client_;
  Status status_;  // of the client after that call
};

TEST_P(StrangeServers, MalformedAnswerEndsTheClient) {
  for (const std::string& bad :
       {std::string("?"), Bytes(rpc::RequestEnvelope(1, "m", 0, Deadline::Never())),
        Bytes(rpc::ErrorEnvelope(1, {})).substr(0, 45)}) {
    EXPECT_EQ(KindOf(AnswerWith(bad)), ErrorKind::kCorruptMessage);
    EXPECT_EQ(KindOf(status_), ErrorKind::kCorruptMessage);
  }
}

TEST_P(StrangeServers, AnswerOfALaterVersionFailsThatCall) {
  std::string later = Bytes(rpc::PlainEnvelope(rpc::EnvelopeKind::kReply, 1));
  later[4] = 9;
  const auto failed = AnswerWith(later);
  EXPECT_EQ(KindOf(failed), ErrorKind::kCorruptMessage);
  EXPECT_THAT(TextOf(failed), HasSubstr("version 9"));
  EXPECT_TRUE(status_.ok()) << status_;
}

TEST_P(StrangeServers, ErrorOfTheConnectionFailsAll) {
  const auto failed = AnswerWith(Bytes(rpc::ErrorEnvelope(
      rpc::kNoCall, {.kind = ErrorKind::kCorruptMessage, .message = "you speak in tongues"})));
  EXPECT_EQ(KindOf(failed), ErrorKind::kCorruptMessage);
  EXPECT_THAT(TextOf(failed), HasSubstr("in tongues"));
  EXPECT_FALSE(status_.ok());
}

INSTANTIATE_TEST_SUITE_P(Ways, StrangePeers, ::testing::ValuesIn(kWays), WayName);
INSTANTIATE_TEST_SUITE_P(Ways, StrangeServers, ::testing::ValuesIn(kWays), WayName);

}  // namespace
}  // namespace pannier
