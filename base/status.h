// Errors. Every fallible function of the public API returns absl::Status or
// absl::StatusOr; nothing throws but std::bad_alloc. A Status made here carries an
// ErrorKind beside the absl code, so that a caller (and the Python binding, which
// raises one exception type per kind) can tell errors apart without reading text.
//
// Messages say what went wrong, where (endpoint, peer, method, byte offset) and, if
// there is something to do, what to do.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace pannier {

using absl::Status;
using absl::StatusOr;

// What went wrong. The numbers travel in error replies (docs/wire_format.md): they
// are never reused.
enum class ErrorKind : uint8_t {
  kNone = 0,              // not an error of ours; the absl code is all there is
  kConnectionLost = 1,    // the peer or the way to it is gone
  kDeadlineExceeded = 2,  // time ran out first
  kPoolExhausted = 3,     // no room within the pool's quota, or no credit with the peer
  kCorruptMessage = 4,    // bytes of a peer that no correct peer sends
  kForbiddenGlobal = 5,   // a pickle names a global that the policy forbids
  kRemote = 6,            // the handler on the far side failed
  kInvalidArgument = 7,   // the caller's argument is wrong
  kPickling = 8,          // a value cannot be pickled
  kUnpickling = 9,        // a stream is not a pickle, or not of the wanted type
  kRefused = 10,          // the peer answered the handshake with a refusal
  kClosed = 11,           // this side closed the object before
  kInterrupted = 12,      // the caller's interrupt hook asked to stop waiting
  kForked = 13,           // used in a child of the process that made it
  kUnknownMethod = 14,    // the server has no such method
  kSystem = 15,           // the operating system refused; see ErrnoOf
  kCancelled = 16,        // the caller cancelled
  kLimit = 17,            // larger than a limit that a setting states
};
inline constexpr uint8_t kLastErrorKind = static_cast<uint8_t>(ErrorKind::kLimit);

// The name of a kind as it appears in messages and docs: "ConnectionLost".
std::string_view ErrorKindName(ErrorKind kind);

// A Status of that kind. The absl code follows from the kind.
Status MakeError(ErrorKind kind, std::string_view message);

// A kSystem error: "what: strerror (errno)".
Status SystemError(int error_number, std::string_view what);

// The kind of a Status made by MakeError; kNone for OK and for foreign ones.
ErrorKind KindOf(const Status& status);

// The errno of a Status made by SystemError, else 0.
int ErrnoOf(const Status& status);

// Same kind and payloads, message prefixed with "context: ".
Status Annotate(const Status& status, std::string_view context);

// Debian's Abseil is built with a string_view type of its own. This is the one
// place where the two meet.
inline absl::string_view ToAbsl(std::string_view text) { return {text.data(), text.size()}; }
inline std::string_view FromAbsl(absl::string_view text) { return {text.data(), text.size()}; }

}  // namespace pannier

#define PANNIER_CONCAT_INNER(a, b) a##b
#define PANNIER_CONCAT(a, b) PANNIER_CONCAT_INNER(a, b)

// Returns the Status of `expr` from the current function unless it is OK.
#define PANNIER_RETURN_IF_ERROR(expr)                                     \
  do {                                                                    \
    if (::absl::Status pannier_status_ = (expr); !pannier_status_.ok()) { \
      return pannier_status_;                                             \
    }                                                                     \
  } while (0)

// `lhs` = the value of the StatusOr `expr`, or returns its Status.
#define PANNIER_ASSIGN_OR_RETURN(lhs, expr) \
  PANNIER_ASSIGN_OR_RETURN_IMPL(PANNIER_CONCAT(pannier_or_, __LINE__), lhs, expr)
#define PANNIER_ASSIGN_OR_RETURN_IMPL(or_value, lhs, expr) \
  auto or_value = (expr);                                  \
  if (!or_value.ok()) return std::move(or_value).status(); \
  lhs = *std::move(or_value)
