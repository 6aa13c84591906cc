// ReplyQueue: the replies of one connection that its receiver has no room for yet, so that a caller
// that reads slowly, or never, does not hold up the server. Internal to rpc/. Thread-safe: handlers
// answer on their own threads, and the serving one flushes.
#pragma once

#include <atomic>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <vector>

#include "pannier/base/buffer.h"
#include "pannier/base/deadline.h"
#include "pannier/base/status.h"
#include "pannier/rpc/envelope.h"
#include "pannier/rpc/raw.h"
#include "pannier/transport/connection.h"

namespace pannier::rpc {

class ReplyQueue {
 public:
  struct Limits {
    uint64_t max_waiting_bytes;
    absl::Duration pool_patience;
    uint64_t inline_threshold;
  };
  ReplyQueue(std::shared_ptr<Connection> connection, const Limits& limits)
      : connection_(std::move(connection)), limits_(limits) {}

  // Sends a result, or keeps it for Flush; one that cannot be sent becomes an error reply that says
  // why. `deadline` is the caller's: a reply that waits longer is dropped. Errors: Limit (too much
  // waits: close the connection). A lost connection is no error here.
  Status SendResult(uint64_t call_id, RawResult result, Deadline deadline);
  // Likewise one value of a sequence. If it cannot be sent, ever, the call ends with the error that
  // says why, and `failed` is called, under no lock.
  Status SendItem(uint64_t call_id, RawResult item, Deadline deadline,
                  std::function<void()> failed);
  // Likewise an error reply, of `status`.
  Status SendError(uint64_t call_id, const Status& status, Deadline deadline);
  // Tries again what waits.
  void Flush();
  // Nothing waits. What another thread lets wait at this moment, that one looks after.
  bool empty() const { return !waits_; }

 private:
  struct Reply {
    uint64_t call_id;
    EnvelopeBytes envelope;
    Buffer stream = {};
    std::vector<Buffer> buffers = {};
    Deadline deadline = Deadline::Never();  // the caller's
    Deadline patience =
        Deadline::Never();  // for memory of the pool; Never before the first attempt
    bool is_error = false;
    std::function<void()> failed = {};  // of an item
    uint64_t bytes = 0;  // of memory that it holds while it waits, but for the pool's
  };
  static Reply ErrorReply(uint64_t call_id, const Status& status, Deadline deadline);
  Status SendOrKeep(Reply&& reply);
  Status SendOrKeepLocked(Reply&& reply);
  uint64_t BytesOf(const Reply& reply) const;
  // True if the reply is done with: sent, or not to be sent any more. False: it has to wait.
  bool Attempt(Reply& reply);

  const std::shared_ptr<Connection> connection_;
  const Limits limits_;
  mutable std::mutex mutex_;  // guards the rest; sends never wait
  std::deque<Reply> waiting_;
  // Of waiting_. Relaxed would do: what is done about it is ordered by the lock.
  std::atomic<bool> waits_{false};
  uint64_t waiting_bytes_ = 0;                 // sum of their bytes
  std::vector<std::function<void()>> failed_;  // to be called when the lock is gone
  // To be destroyed when the lock is gone: the end of a buffer may need another, as the GIL.
  std::vector<Reply> over_;
};

}  // namespace pannier::rpc
