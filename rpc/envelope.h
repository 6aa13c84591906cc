// What stands in the envelope of each message of a call: docs/wire_format.md, "Calls". Internal to
// rpc/ and its tests.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "absl/container/inlined_vector.h"
#include "pannier/base/bytes.h"
#include "pannier/base/deadline.h"
#include "pannier/base/status.h"
#include "pannier/rpc/remote_error.h"

namespace pannier::rpc {

inline constexpr uint32_t kEnvelopeMagic = 0x43524E50;  // "PNRC"
inline constexpr uint16_t kEnvelopeVersion = 1;
inline constexpr size_t kMaxMethodBytes = 1024;

enum class EnvelopeKind : uint8_t {
  kRequest = 1,
  kReply = 2,
  kError = 3,
  kCancel = 4,
  kItem = 5,
  kCredit = 6
};

// Flags of a request.
inline constexpr uint8_t kFlagKeywords = 1;  // the stream is a pair (tuple, dict)
inline constexpr uint8_t kFlagItems = 2;     // the caller wants a sequence of values
inline constexpr uint8_t kFlagOneWay = 4;    // nothing is answered
// Flag of a cancel.
inline constexpr uint8_t kFlagExpired = 1;  // the call's deadline passed, by the caller's clock

// Remaining time that means: no deadline.
inline constexpr uint64_t kNoDeadline = ~uint64_t{0};
// The call id of an error that is about the connection and no call of it.
inline constexpr uint64_t kNoCall = 0;

// The first 40 bytes. The first 16 are the same in every version.
struct EnvelopeHeader {
  uint32_t magic = kEnvelopeMagic;
  uint16_t version = kEnvelopeVersion;
  uint8_t kind = 0;
  uint8_t flags = 0;
  uint64_t call_id = kNoCall;
  uint64_t remaining_ns = kNoDeadline;  // request
  uint64_t sent_at_ns = 0;              // request: the sender's CLOCK_MONOTONIC
  uint16_t method_size = 0;             // request
  uint8_t reserved[2] = {};
  uint32_t credit = 0;  // request with kFlagItems, credit: so many (more) items may be sent
};
static_assert(sizeof(EnvelopeHeader) == 40);

// A parsed envelope; borrows the bytes that it was parsed from. Where `known()` is false only
// version and call_id mean anything, and kind and flags as numbers.
struct Envelope {
  EnvelopeHeader header;
  std::string_view method;  // request
  ByteSpan rest;            // what follows header and method

  EnvelopeKind kind() const { return static_cast<EnvelopeKind>(header.kind); }
  // False if it is of another version, of a kind that this one does not have, or has flags that it
  // does not know.
  bool known() const;
};

// Errors: CorruptMessage.
StatusOr<Envelope> ParseEnvelope(ByteSpan bytes);
// "version 2", "kind 9": what a peer said that is not known here.
std::string DescribeUnknown(const Envelope& envelope);

// An envelope to send: that of a call by a name of 40 bytes or less is not allocated.
class EnvelopeBytes {
 public:
  EnvelopeBytes() = default;
  EnvelopeBytes(const EnvelopeHeader& header, std::string_view rest);
  ByteSpan span() const { return bytes_; }

 private:
  absl::InlinedVector<std::byte, 80> bytes_;
};

// REQUIRES: method.size() <= kMaxMethodBytes.
EnvelopeBytes RequestEnvelope(uint64_t call_id, std::string_view method, uint8_t flags,
                              Deadline deadline, uint32_t credit = 0);
// Of a kind of which the header says all: reply, cancel, item, credit.
EnvelopeBytes PlainEnvelope(EnvelopeKind kind, uint64_t call_id, uint32_t credit = 0);
EnvelopeBytes CancelEnvelope(uint64_t call_id, bool expired);
// The failure's pickled exception is not part of it: it is the message's stream. Texts that are too
// long are cut: of a message the end, of a traceback the beginning.
EnvelopeBytes ErrorEnvelope(uint64_t call_id, const RemoteFailure& failure);

// The body of an error envelope without its exception, and back. `*rest` is what follows; may be
// null. Errors: CorruptMessage.
std::string SerializeFailure(const RemoteFailure& failure);
StatusOr<RemoteFailure> ParseFailure(ByteSpan bytes, ByteSpan* rest);

// When the caller of a request, received now, gives up, on this side's clock. Time under way is
// taken off where `same_host`: both sides then read one clock.
Deadline DeadlineOf(const EnvelopeHeader& header, bool same_host);

}  // namespace pannier::rpc
