// LaneSet: the lanes that a hub reads from, of all its connections, and how their bells are
// set before the thread on duty sleeps. docs/lane.md, "The doorbell" and "Waiting".
//
// A lane is awake or armed. Awake: its reader is looked at in each turn, and its writer does
// not ring. Armed: it was found empty after its bell was set, so nothing needs to be looked at
// until the doorbell is rung.
//
// All members need the hub's lock, and those that read from lanes (Serve, Spin, Arm, Wake) the
// duty too: a lane has one reader at a time.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <vector>

#include "pannier/shm/lane.h"
#include "pannier/shm/spin_time.h"

namespace pannier {

class LaneSet {
 public:
  using Lock = std::unique_lock<std::mutex>;

  // `on_records` is called when something is on the lane; it takes off what it likes, and may
  // remove the lane. Returns a number for the others.
  uint64_t Add(std::shared_ptr<LaneInbox> inbox, std::function<void()> on_records);
  void Remove(uint64_t number);
  bool empty() const { return lanes_.empty(); }

  // Calls on_records for each lane that is awake and has something; true if one had.
  bool Serve();
  // The lane's doorbell was rung: from now on it is awake.
  void Wake(uint64_t number);
  // Wakes the lanes that a waiting thread had better look at: all, if they are few.
  void WakeFew();
  // Looks at what is awake until then, the lock released; ends early, too, when `stop` is set.
  // True if something is there.
  bool Spin(Lock& lock, SpinTime::Clock::time_point until, const std::atomic<bool>& stop);
  // Arms all that is awake. False if something is there: then there is no sleeping.
  bool Arm();

 private:
  struct Lane {
    std::shared_ptr<LaneInbox> inbox;
    std::function<void()> on_records;
    bool armed = false;
  };
  void WakeUp(uint64_t number, Lane& lane);

  std::map<uint64_t, Lane> lanes_;
  std::vector<uint64_t> awake_;  // numbers
  // The inboxes of these, for the thread that spins: it holds no lock.
  std::vector<std::shared_ptr<LaneInbox>> looked_at_;
  bool looked_at_is_old_ = false;  // awake_ has changed since
  bool spinning_ = false;
  uint64_t next_ = 1;
};

}  // namespace pannier
