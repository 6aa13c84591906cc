// Receiver: receives for clients on whose calls nobody waits, so that what OnDone tells comes
// without a thread in Wait. It is a thread of the program's that calls Run.
//
// It keeps out of the way of threads that wait themselves: two threads that watch one socket wake
// each other in vain. So it looks each millisecond while calls are in flight, receives for clients
// that nobody attends to, and sleeps without a time-out when nothing is in flight.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <vector>

#include "pannier/base/status.h"
#include "pannier/base/unique_fd.h"
#include "pannier/rpc/client.h"

namespace pannier {

class Receiver {
 public:
  // Errors: kSystem.
  static StatusOr<std::shared_ptr<Receiver>> Make();

  // Receives for `client` from now on, until it is gone. Any thread.
  void Add(const std::shared_ptr<Client>& client);
  // A call was started. `now`: nobody will wait for it, so do not let a millisecond pass first. Any
  // thread; to be told once the call is in flight.
  void Kick(bool now);
  // Returns after Stop. One thread.
  void Run();
  // Any thread.
  void Stop();

 private:
  Receiver() = default;
  std::vector<std::shared_ptr<Client>> Clients() const;
  bool Busy() const;  // calls are in flight
  // Receives for those that nobody attends to, until there is none. True if there was one.
  bool Serve();
  void Sleep(int millis);

  UniqueFd wake_;  // eventfd
  mutable std::mutex mutex_;
  std::vector<std::weak_ptr<Client>> clients_;  // guarded by mutex_
  // Sequentially consistent: Run sets asleep_ and then looks for calls in flight; Kick comes after
  // the call is in flight and then reads asleep_. One of them sees the other.
  std::atomic<bool> asleep_{false};
  std::atomic<bool> stop_{false};
};

}  // namespace pannier
