// Bodies of the handshake's frames and of credit and bye: docs/wire_format.md,
// "Handshake". Pure functions over bytes. Parse functions ignore bytes after the fields
// they know and fail with CorruptMessage if there are fewer.
#pragma once

#include <array>
#include <cstdint>
#include <string>

#include "pannier/base/bytes.h"
#include "pannier/base/status.h"

namespace pannier::wire {

using Token = std::array<uint8_t, 16>;

// What one side is ready to receive.
struct Limits {
  uint64_t max_message_bytes = 0;
  uint32_t window_messages = 0;
  uint64_t window_bytes = 0;
};

struct Hello {
  uint16_t least_version = 0;
  uint16_t greatest_version = 0;
  bool wants_link = false;
  Limits limits;
  std::string name;
  bool takes_lane = false;  // it would read from and write to lanes
};

struct Welcome {
  uint16_t version = 0;
  Limits limits;
  Token token = {};
  std::string link_name;  // empty: no link offered
  bool lane = false;      // the connection's carrier is a lane, if the link stands
};

// refuse and bye.
struct Reason {
  ErrorKind kind = ErrorKind::kNone;
  std::string text;
};

struct Ready {
  bool has_link = false;
  std::string no_link_reason;
};

// Where a new link is to be made, in the place of a broken one.
struct Offer {
  Token token = {};
  std::string link_name;  // empty: none offered
};

struct Credit {
  uint64_t messages = 0;
  uint64_t bytes = 0;
};

std::string Serialize(const Hello& hello);
std::string Serialize(const Welcome& welcome);
std::string Serialize(const Reason& reason);
std::string Serialize(const Ready& ready);
std::string Serialize(const Offer& offer);
std::string Serialize(const Credit& credit);

StatusOr<Hello> ParseHello(ByteSpan body);
StatusOr<Welcome> ParseWelcome(ByteSpan body);
StatusOr<Reason> ParseReason(ByteSpan body);
StatusOr<Ready> ParseReady(ByteSpan body);
StatusOr<Offer> ParseOffer(ByteSpan body);
StatusOr<Credit> ParseCredit(ByteSpan body);

// The greatest version that both speak. Errors: Refused, naming both ranges.
StatusOr<uint16_t> AgreeOnVersion(const Hello& hello);

}  // namespace pannier::wire
