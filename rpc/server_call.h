// ServerCall: the CallContext of a server's call. It tells its ServerWork when it is over, and
// answers through its peer's ReplyQueue. Internal to rpc/.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>

#include "pannier/base/deadline.h"
#include "pannier/base/status.h"
#include "pannier/rpc/call_context.h"
#include "pannier/rpc/envelope.h"
#include "pannier/rpc/server.h"
#include "pannier/rpc/server_work.h"

namespace pannier::internal {

class ServerCall final : public CallContext {
 public:
  ServerCall(std::shared_ptr<ServerWork> work, std::shared_ptr<ServerPeer> peer,
             const rpc::Envelope& envelope, Deadline deadline, uint64_t bytes);
  ~ServerCall() override;

  const std::string& method() const override { return method_; }
  Deadline deadline() const override { return deadline_; }
  const Connection& peer() const override { return *peer_->connection; }
  bool wants_items() const override { return (flags_ & rpc::kFlagItems) != 0; }
  Status Check() override;
  Status EmitRaw(RawResult item, Deadline deadline) override;
  uint32_t credit() override;
  void Defer() override;
  void Finish(StatusOr<RawResult> result) override;
  void OnReady(std::function<void()> resume) override;

  uint64_t id() const { return id_; }
  uint64_t bytes() const { return bytes_; }
  bool keywords() const { return (flags_ & rpc::kFlagKeywords) != 0; }
  bool one_way() const { return (flags_ & rpc::kFlagOneWay) != 0; }
  bool started() const;
  // To be run now; else why not: it is over, or nobody waits for it.
  Status Begin();

  // What the serving thread learns. Any thread.
  void AddCredit(uint32_t more);
  // The handler ran, and returned this: counts it, and answers, unless it deferred that.
  struct Ran {
    std::chrono::steady_clock::duration took;
    bool known;  // there is such a method
  };
  void Return(StatusOr<RawResult> result, const Ran& ran);
  // The caller does not wait any more, or the server stops: `why` is what Check says.
  void Cancel(Status why);
  // Ends the call with no answer.
  void Abandon();
  // Looks at the deadline for OnReady; true if OnReady waits on.
  bool StillParked();

 private:
  using Lock = std::unique_lock<std::mutex>;

  std::shared_ptr<ServerCall> Self() {
    return std::static_pointer_cast<ServerCall>(shared_from_this());
  }
  // What ends the call early, if something did.
  Status Gone(const Lock&) const;
  bool Ready(const Lock& lock) const { return credit_ > 0 || !Gone(lock).ok(); }
  void ResumeIfReady(Lock lock);
  // The call is over: true once, and then Ended has to follow. `failed` is for the counts, and so
  // is `ran`, if given: what the handler returned is no end if it deferred the answer. `wanted`:
  // somebody waits for the answer.
  bool End(bool failed, const Ran* ran, bool* wanted);
  // With ServerWork::mutex.
  void Count(const Ran& ran, ServerStats* stats) const;
  void FinishAs(StatusOr<RawResult> result, const Ran* ran);
  // It was answered, or is not to be. A server that drains waits for that.
  void Ended();
  void Answer(StatusOr<RawResult> result);
  // After a send: it may wait, or have been too much.
  void LookAfter(const Status& sent);

  const std::shared_ptr<ServerWork> work_;
  const std::shared_ptr<ServerPeer> peer_;
  const uint64_t id_;
  const std::string method_;
  const uint8_t flags_;
  const Deadline deadline_;
  const uint64_t bytes_;

  mutable std::mutex mutex_;
  std::condition_variable changed_;
  // Guarded by mutex_.
  uint32_t credit_;
  bool started_ = false;
  bool over_ = false;
  bool deferred_ = false;
  Status gone_;
  std::function<void()> resume_;
  bool parked_ = false;  // in ServerWork::parked
  // The serving thread's alone.
  std::chrono::steady_clock::time_point looked_{};
};

}  // namespace pannier::internal
