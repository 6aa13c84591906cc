#include "pannier/transport/hub.h"

#include <poll.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <span>
#include <utility>

#include "pannier/base/process_epoch.h"

namespace pannier {
namespace {

// How long a wait goes without asking whether the caller was interrupted.
constexpr int kSliceMillis = 100;
// Who spins sees neither a link's end nor a signal.
constexpr absl::Duration kMostSpin = absl::Milliseconds(1);
// Frames received before the watches get their turn.
constexpr int kFramesPerTurn = 256;
// Of the waits that find what they want on a lane, one in so many serves all else too.
constexpr uint64_t kFullTurnEach = 64;

enum FixedWatch : uint64_t { kZmq, kMonitor, kWake, kTimer, kFirstFree };

Status AddToEpoll(int epoll, int fd, uint64_t number, uint32_t how = EPOLLIN | EPOLLRDHUP) {
  epoll_event event{};
  event.events = how;
  event.data.u64 = number;
  if (epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) != 0) return SystemError(errno, "epoll_ctl");
  return absl::OkStatus();
}

// As epoll_wait, for one descriptor more, whose events have the number kZmq. Its wake-ups are
// cheaper than through the epoll: by 3 us of the 28 of an echo between Python processes.
int WaitBeside(int socket, int epoll, std::span<epoll_event> events, int millis) {
  std::array<pollfd, 2> sources = {pollfd{socket, POLLIN, 0}, pollfd{epoll, POLLIN, 0}};
  const int ready = poll(sources.data(), sources.size(), millis);
  if (ready <= 0) return ready;
  int count = 0;
  if (sources[0].revents != 0) events[static_cast<size_t>(count++)].data.u64 = kZmq;
  if (sources[1].revents == 0) return count;
  const auto rest = events.subspan(static_cast<size_t>(count));
  const int more = epoll_wait(epoll, rest.data(), static_cast<int>(rest.size()), 0);
  return more > 0 ? count + more : count;
}

}  // namespace

Hub::Hub(std::unique_ptr<ZmqSocket> socket, std::function<bool()> interrupted, absl::Duration spin)
    : interrupted_(std::move(interrupted)),
      epoch_(ProcessEpoch()),
      socket_(std::move(socket)),
      spin_time_(absl::ToChronoNanoseconds(std::clamp(spin, absl::ZeroDuration(), kMostSpin)),
                 ProcessorsToRunOn()),
      next_watch_(kFirstFree) {}

Hub::~Hub() {
  // A forked child must not touch its parent's ZeroMQ sockets.
  if (Forked(epoch_)) (void)socket_.release();
}

Status Hub::Open() {
  epoll_ = UniqueFd(epoll_create1(EPOLL_CLOEXEC));
  if (!epoll_.valid()) return SystemError(errno, "epoll_create1");
  wake_ = UniqueFd(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!wake_.valid()) return SystemError(errno, "eventfd");
  PANNIER_RETURN_IF_ERROR(AddToEpoll(epoll_.get(), wake_.get(), kWake));
  if (socket_->monitor_fd() >= 0) {
    PANNIER_RETURN_IF_ERROR(AddToEpoll(epoll_.get(), socket_->monitor_fd(), kMonitor));
  }
  return absl::OkStatus();
}

Status Hub::Wait(Lock& lock, Deadline deadline, absl::FunctionRef<bool()> done,
                 const LaneReader* own) {
  // Of an exposed hub nothing may be left on a lane: see Rest.
  const Status status = WaitTurns(lock, deadline, done, timer_.valid() ? nullptr : own);
  Rest();  // with the duty, or called to it
  return status;
}

Status Hub::WaitTurns(Lock& lock, Deadline deadline, absl::FunctionRef<bool()> done,
                      const LaneReader* own) {
  const auto over = [&] { return done() || (own != nullptr && !on_duty_ && !own->Empty()); };
  if (over()) return absl::OkStatus();
  bool served = false;
  bool may_spin = true;
  Deadline ask_by = Deadline::Never();
  for (;;) {
    if (served && deadline.Passed()) return MakeError(ErrorKind::kDeadlineExceeded, "");
    bool ask = true;
    if (on_duty_) {
      SleepAsFollower(lock, deadline, done);
    } else {
      on_duty_ = true;
      ask = TakeTurn(lock, deadline, done, own, &may_spin);
      on_duty_ = false;
      NotifyWaiters();
    }
    if (over()) return absl::OkStatus();
    // Events of others come so fast, perhaps, that no slice ever passes.
    if (interrupted_ && (ask = ask || ask_by.Passed())) {
      if (Interrupted(lock)) return MakeError(ErrorKind::kInterrupted, "interrupted while waiting");
      if (over()) return absl::OkStatus();  // another thread served meanwhile
    }
    if (ask || !served) ask_by = Deadline::After(absl::Milliseconds(kSliceMillis));
    served = true;
  }
}

bool Hub::TakeTurn(Lock& lock, Deadline deadline, absl::FunctionRef<bool()> done,
                   const LaneReader* own, bool* may_spin) {
  SpinTime::Clock::time_point start;
  bool in_vain = false;
  bool found = false;
  if (!lanes_.empty()) {
    lanes_.WakeFew();
    if (lanes_.Serve()) NotifyWaiters();  // who spins below lets nobody wait for that
    if (!done() && std::exchange(*may_spin, false)) {
      start = SpinTime::Clock::now();
      const int64_t tick = TimerTick();
      const auto until = start + spin_time_.Next();
      const auto spin_until = std::min(until, deadline.when());
      if (start < spin_until && SpinOnLanes(lock, spin_until)) {
        // Unless it came when somebody else had taken the processor away.
        const auto took =
            TimerTick() == tick ? SpinTime::Duration::zero() : SpinTime::Clock::now() - start;
        took <= 2 * (until - start) ? spin_time_.Paid() : spin_time_.InVain(took);
        if (own != nullptr && !own->Empty()) return false;
        lanes_.Serve();
      } else {
        in_vain = until <= deadline.when();
      }
    }
    found = done();
    if (found && ++lane_turns_ % kFullTurnEach != 0) return false;
  }
  ReceiveFrames(done);
  const Deadline timer = OnTimer();
  NotifyWaiters();
  if (!found && done()) return false;
  const bool ask = Sleep(lock, found ? Deadline::Now() : Earlier(deadline, timer), done);
  if (in_vain) spin_time_.InVain(SpinTime::Clock::now() - start);
  return ask;
}

bool Hub::SpinOnLanes(Lock& lock, SpinTime::Clock::time_point until) {
  // Relaxed, here and where it is set: the lock is taken before anything is looked at.
  nudged_.store(false, std::memory_order_relaxed);
  return lanes_.Spin(lock, until, nudged_);
}

bool Hub::Interrupted(Lock& lock) {
  Rest();  // the hook may run for long, and wait for what others are to receive
  lock.unlock();
  const bool interrupted = interrupted_();
  lock.lock();
  return interrupted;
}

bool Hub::ServeOnce(Lock& lock) {
  if (on_duty_ || IsShutdown()) return false;
  on_duty_ = true;
  lanes_.WakeFew();
  const bool on_lanes = lanes_.Serve();
  const auto never = [] { return false; };
  ReceiveFrames(never);
  OnTimer();
  Sleep(lock, Deadline::Now(), never);
  on_duty_ = false;
  NotifyWaiters();
  Rest();  // a thread that came to wait meanwhile found the duty taken
  return on_lanes || (socket_ != nullptr && socket_used_ && socket_->Readable());
}

bool Hub::MayTakeOffLane() {
  // What is left on a lane would have to show in the exposed descriptor, again and again.
  if (on_duty_ || timer_.valid() || (lane_turns_ + 1) % kFullTurnEach == 0) return false;
  ++lane_turns_;
  return true;
}

void Hub::Rest() {
  if (on_duty_) return;
  if (!waiters_.empty()) waiters_.front()->wake.notify_one();
  if (!timer_.valid() || socket_ == nullptr) return;
  ArmTimer(OnTimer());
  // ZeroMQ raises no event for what it told of before.
  if ((socket_used_ && socket_->Readable()) || !lanes_.Arm()) Wake();
}

void Hub::ArmTimer(Deadline when) {
  if (when.when() == timer_due_.when()) return;
  timer_due_ = when;
  itimerspec spec{};  // zero: never
  if (!when.never()) {
    // The steady clock is CLOCK_MONOTONIC. A time of zero would disarm.
    const auto nanos = std::max<int64_t>(
        1, std::chrono::duration_cast<std::chrono::nanoseconds>(when.when().time_since_epoch())
               .count());
    spec.it_value = {nanos / 1'000'000'000, nanos % 1'000'000'000};
  }
  timerfd_settime(timer_.get(), TFD_TIMER_ABSTIME, &spec, nullptr);
}

Status Hub::WatchSocket() {
  if (socket_ == nullptr || std::exchange(socket_watched_, true)) return absl::OkStatus();
  const Status added = AddToEpoll(epoll_.get(), socket_->fd(), kZmq);
  socket_watched_ = added.ok();
  return added;
}

StatusOr<int> Hub::Expose() {
  if (timer_.valid()) return epoll_.get();
  PANNIER_RETURN_IF_ERROR(WatchSocket());
  UniqueFd timer(timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK));
  if (!timer.valid()) return SystemError(errno, "timerfd_create");
  PANNIER_RETURN_IF_ERROR(AddToEpoll(epoll_.get(), timer.get(), kTimer));
  timer_ = std::move(timer);
  Rest();
  return epoll_.get();
}

void Hub::ReceiveFrames(absl::FunctionRef<bool()> done) {
  if (socket_ == nullptr || !socket_used_) return;
  // To ask costs a system call. Who never sleeps asks all the same.
  const bool ask = std::exchange(monitor_told_, false) || ++receive_turns_ % kFullTurnEach == 0;
  if (ask && socket_->TakeDisconnect()) OnDisconnect();
  RawFrame frame;
  for (int i = 0; i < kFramesPerTurn && socket_ != nullptr; ++i) {
    socket_used_ = false;  // unless a frame's handling, or another thread, uses it
    if (!socket_->Receive(&frame)) return;
    socket_used_ = true;
    OnFrame(std::move(frame));
    frame = RawFrame();
    if (done()) return;  // to ask whether there is more costs a system call
  }
}

bool Hub::Sleep(Lock& lock, Deadline until, absl::FunctionRef<bool()> done) {
  // Frames beyond one turn's number raise no event any more.
  if (socket_ != nullptr && socket_used_ && socket_->Readable()) until = Deadline::Now();
  // Who does not sleep need not be rung.
  if (until.when() != Deadline::Now().when() && !lanes_.Arm()) until = Deadline::Now();
  std::array<epoll_event, 16> events;
  const int beside = socket_ != nullptr && !socket_watched_ ? socket_->fd() : -1;
  sleeping_ = true;
  lock.unlock();
  const int millis = until.PollMillis(interrupted_ ? kSliceMillis : -1);
  const int count = beside >= 0 ? WaitBeside(beside, epoll_.get(), events, millis)
                                : epoll_wait(epoll_.get(), events.data(),
                                             static_cast<int>(events.size()), millis);
  const bool slice_passed = count == 0 && !until.Passed();
  const bool signal = (count < 0 && errno == EINTR) || slice_passed;
  lock.lock();
  sleeping_ = false;
  for (int i = 0; i < count; ++i) {
    const uint64_t number = events[static_cast<size_t>(i)].data.u64;
    if (number == kWake) {
      uint64_t ignored;
      (void)!read(wake_.get(), &ignored, sizeof(ignored));
    } else if (number == kTimer) {
      ArmTimer(Deadline::Never());
    } else if (number == kZmq || number == kMonitor) {
      socket_used_ = true;
      monitor_told_ = monitor_told_ || number == kMonitor;
    } else if (const auto watch = watches_.find(number); watch != watches_.end()) {
      const std::function<void()> on_event = watch->second.second;  // it may unwatch itself
      on_event();
    }
  }
  lanes_.Serve();
  ReceiveFrames(done);
  return signal;
}

void Hub::SleepAsFollower(Lock& lock, Deadline deadline, absl::FunctionRef<bool()> done) {
  Waiter self{done};
  const auto place = waiters_.insert(waiters_.end(), &self);
  const auto slice = Deadline::After(absl::Milliseconds(kSliceMillis));
  const Deadline until = interrupted_ ? Earlier(deadline, slice) : deadline;
  if (until.never()) {
    self.wake.wait(lock);
  } else {
    self.wake.wait_until(lock, until.when());
  }
  waiters_.erase(place);
}

void Hub::NotifyWaiters() {
  for (Waiter* waiter : waiters_) {
    if (waiter->done()) waiter->wake.notify_one();
  }
}

ZmqSocket::Sent Hub::Send(const RoutingId& to, OutFrame& frame) {
  if (socket_ == nullptr) return ZmqSocket::Sent::kUnreachable;
  const ZmqSocket::Sent sent = socket_->Send(to, frame);
  socket_used_ = true;
  // Sending may have swallowed the event that the sleeper, or who polls, waits for.
  const bool wanted = sleeping_ || (timer_.valid() && !on_duty_);
  if (wanted && socket_->Readable()) Wake();
  return sent;
}

uint64_t Hub::Watch(int fd, std::function<void()> on_event) {
  return AddWatch(fd, EPOLLIN | EPOLLRDHUP, std::move(on_event));
}

uint64_t Hub::AddWatch(int fd, uint32_t events, std::function<void()> on_event) {
  const uint64_t number = next_watch_++;
  if (!AddToEpoll(epoll_.get(), fd, number, events).ok()) return 0;
  watches_.emplace(number, std::pair(fd, std::move(on_event)));
  return number;
}

void Hub::Unwatch(uint64_t number) {
  const auto watch = watches_.find(number);
  if (watch == watches_.end()) return;
  epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, watch->second.first, nullptr);
  watches_.erase(watch);
}

uint64_t Hub::AddLane(std::shared_ptr<LaneInbox> inbox, std::function<void()> on_records) {
  if (!WatchSocket().ok()) return 0;
  const int doorbell = inbox->doorbell().fd();
  const uint64_t number = lanes_.Add(std::move(inbox), std::move(on_records));
  // By its edges: each ring is told of once, so that the bell need not be read.
  const uint64_t watch =
      AddWatch(doorbell, EPOLLIN | EPOLLET, [this, number] { lanes_.Wake(number); });
  if (watch == 0) {
    lanes_.Remove(number);
    return 0;
  }
  lane_watches_.emplace(number, watch);
  if (sleeping_) Wake();  // it is not armed yet
  return number;
}

void Hub::RemoveLane(uint64_t number) {
  const auto watch = lane_watches_.find(number);
  if (watch == lane_watches_.end()) return;
  Unwatch(watch->second);
  lane_watches_.erase(watch);
  lanes_.Remove(number);
}

void Hub::StateChanged() {
  NotifyWaiters();
  if (sleeping_) return Wake();
  nudged_.store(true, std::memory_order_relaxed);
}

void Hub::Wake() {
  nudged_.store(true, std::memory_order_relaxed);
  const uint64_t one = 1;
  (void)!write(wake_.get(), &one, sizeof(one));
}

void Hub::Shutdown(absl::Duration linger) {
  if (socket_ == nullptr) return;
  if (socket_watched_) epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, socket_->fd(), nullptr);
  if (socket_->monitor_fd() >= 0) {
    epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, socket_->monitor_fd(), nullptr);
  }
  socket_->SetLinger(linger);
  socket_.reset();
  StateChanged();
}

void Hub::StopListening() {
  if (socket_ != nullptr) socket_->StopListening();
}

}  // namespace pannier
