#include "pannier/transport/lane_set.h"

#include <utility>

namespace pannier {
namespace {

// Lanes that are looked at whether they were rung or not.
constexpr size_t kFew = 4;
// Looks between two at the clock.
constexpr int kLooksPerTime = 16;
// Records that one turn takes off a lane: the hub's other lanes have theirs.
constexpr int kRecordsPerTurn = 256;
// Who waits for one message takes one. In one turn of so many he takes all, so that the ring of a
// lane whose reader is slower than its writer does not stay full.
constexpr uint64_t kTakeAllEach = 16;

}  // namespace

uint64_t LaneSet::Add(std::shared_ptr<LaneInbox> inbox, std::function<bool()> take_one) {
  const uint64_t number = next_++;
  lanes_.emplace(number, Lane{std::move(inbox), std::move(take_one)});
  awake_.push_back(number);
  looked_at_is_old_ = true;
  return number;
}

void LaneSet::Remove(uint64_t number) {
  lanes_.erase(number);
  std::erase(awake_, number);
  looked_at_is_old_ = true;
  if (!spinning_) looked_at_.clear();  // its memory and descriptors are not kept
}

bool LaneSet::Serve(absl::FunctionRef<bool()> done) {
  const bool all = ++serves_ % kTakeAllEach == 0 || awake_.size() > kFew;
  bool any = false;
  // By index, as lanes come and go meanwhile. Who was served last is last.
  for (size_t i = 0; i < awake_.size(); ++i) {
    const size_t at = (first_ + i) % awake_.size();
    const Lane& lane = lanes_.at(awake_[at]);
    if (lane.inbox->reader().Empty()) continue;
    any = true;
    const std::function<bool()> take_one = lane.take_one;  // it may remove itself
    for (int taken = 0; taken < kRecordsPerTurn && take_one(); ++taken) {
      if (all || !done()) continue;
      first_ = at + 1;
      return true;
    }
  }
  return any;
}

bool LaneSet::WakeUp(uint64_t number, Lane& lane) {
  if (!std::exchange(lane.armed, false)) return false;
  awake_.push_back(number);
  looked_at_is_old_ = true;
  return !lane.inbox->reader().Disarm();
}

void LaneSet::Wake(uint64_t number) {
  const auto lane = lanes_.find(number);
  if (lane == lanes_.end()) return;
  // In any case: it may have been rung for what was seen before, or for nothing.
  lane->second.inbox->doorbell().Silence();
  (void)WakeUp(number, lane->second);
}

void LaneSet::WakeFew() {
  if (lanes_.size() > kFew || awake_.size() == lanes_.size()) return;
  for (auto& [number, lane] : lanes_) {
    // A ring that is under way still comes to Wake, and costs a turn.
    if (WakeUp(number, lane)) lane.inbox->doorbell().Silence();
  }
}

bool LaneSet::Spin(Lock& lock, SpinTime::Clock::time_point until, const std::atomic<bool>& stop) {
  if (std::exchange(looked_at_is_old_, false)) {
    looked_at_.clear();
    for (const uint64_t number : awake_) looked_at_.push_back(lanes_.at(number).inbox);
  }
  if (looked_at_.empty()) return false;
  spinning_ = true;
  lock.unlock();
  bool found = false;
  // Relaxed: it is only a reason to take the lock and look.
  while (!found && !stop.load(std::memory_order_relaxed) && SpinTime::Clock::now() < until) {
    for (int i = 0; i < kLooksPerTime && !found; ++i) {
      for (const auto& inbox : looked_at_) found = found || !inbox->reader().Empty();
      if (!found) SpinPause();
    }
  }
  lock.lock();
  spinning_ = false;
  if (looked_at_is_old_) looked_at_.clear();
  return found;
}

bool LaneSet::Arm() {
  while (!awake_.empty()) {
    Lane& lane = lanes_.at(awake_.back());
    if (!lane.inbox->reader().Arm()) return false;
    lane.armed = true;
    awake_.pop_back();
    looked_at_is_old_ = true;
  }
  return true;
}

}  // namespace pannier
