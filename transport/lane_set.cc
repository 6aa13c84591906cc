#include "pannier/transport/lane_set.h"

#include <utility>

namespace pannier {
namespace {

// Lanes that are looked at whether they were rung or not.
constexpr size_t kFew = 4;
// Looks between two at the clock.
constexpr int kLooksPerTime = 16;

}  // namespace

uint64_t LaneSet::Add(std::shared_ptr<LaneInbox> inbox, std::function<void()> on_records) {
  const uint64_t number = next_++;
  lanes_.emplace(number, Lane{std::move(inbox), std::move(on_records)});
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

bool LaneSet::Serve() {
  bool any = false;
  // By index, as lanes come and go meanwhile.
  for (size_t i = 0; i < awake_.size(); ++i) {
    const Lane& lane = lanes_.at(awake_[i]);
    if (lane.inbox->reader().Empty()) continue;
    any = true;
    const std::function<void()> on_records = lane.on_records;  // it may remove itself
    on_records();
  }
  return any;
}

void LaneSet::WakeUp(uint64_t number, Lane& lane) {
  if (!std::exchange(lane.armed, false)) return;
  awake_.push_back(number);
  looked_at_is_old_ = true;
  (void)lane.inbox->reader().Disarm();
}

void LaneSet::Wake(uint64_t number) {
  const auto lane = lanes_.find(number);
  if (lane == lanes_.end()) return;
  WakeUp(number, lane->second);  // it may have been rung for what was seen before, or for nothing
}

void LaneSet::WakeFew() {
  if (lanes_.size() > kFew || awake_.size() == lanes_.size()) return;
  for (auto& [number, lane] : lanes_) {
    // A ring that was, or is under way, still comes to Wake, and costs a turn.
    WakeUp(number, lane);
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
  do {
    for (int i = 0; i < kLooksPerTime && !found; ++i) {
      for (const auto& inbox : looked_at_) found = found || !inbox->reader().Empty();
      if (!found) SpinPause();
    }
  } while (!found && !stop.load(std::memory_order_relaxed) && SpinTime::Clock::now() < until);
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
