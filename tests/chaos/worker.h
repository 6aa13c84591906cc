// What the roles of chaos_worker share: the stage that the driver set, the report that it
// reads, the check that every call ends by its deadline, and received messages that are held.
//
// A report is a line on the descriptor that the driver gave:
//
//   s MESSAGES BYTES LOST    progress: checked messages, their bytes, connections lost
//   d FDS MAPS RSS_KIB       drained: nothing is held, nobody is connected by this side; said
//                            again and again, as connections of others end a little later
//   v TEXT                   something that must not happen
#pragma once

#include <cstdint>
#include <deque>
#include <random>
#include <string>
#include <vector>

#include "pannier/base/deadline.h"
#include "pannier/transport/connection.h"
#include "parcel.h"

namespace pannier::chaos {

// Set by signals: SIGUSR1 drains, SIGUSR2 goes on, SIGTERM ends.
enum class Stage : int { kRun, kDrain, kEnd };
Stage CurrentStage();

class Worker {
 public:
  Worker(int report_fd, uint64_t seed, std::vector<std::string> endpoints);

  std::mt19937_64& random() { return random_; }
  uint64_t Below(uint64_t bound) { return random_() % bound; }
  bool Chance(double p) { return std::uniform_real_distribution<>()(random_) < p; }
  const std::string& AnyEndpoint() { return endpoints_[Below(endpoints_.size())]; }
  const std::vector<std::string>& endpoints() const { return endpoints_; }

  void Checked(uint64_t bytes) { ++messages_, bytes_ += bytes; }
  void Lost() { ++lost_; }
  void Violation(const std::string& what);
  // A violation unless `status` is one of the ends that faults explain.
  void Expect(const Status& status, const std::string& what);
  void Tick();  // reports progress now and then, reaps children

  // To be called again and again while the stage is kDrain: waits, once per drain, until every
  // block is home, a violation if some do not come; then reports what is left.
  void Drained();
  // Sizes of one message's buffers, mostly small.
  Parcel NewParcel();

 private:
  void Say(const std::string& line);
  void AwaitHome();

  const int report_fd_;
  std::mt19937_64 random_;
  const std::vector<std::string> endpoints_;
  uint64_t messages_ = 0, bytes_ = 0, lost_ = 0, number_ = 0;
  Deadline next_report_ = Deadline::Now();
  Deadline next_count_ = Deadline::Now();
  bool drained_ = false;
};

// Measures a call that has a deadline: one that ends long past it is a violation, unless this
// process was stopped meanwhile.
class Timed {
 public:
  Timed(Worker& worker, const char* what, absl::Duration allowed);
  ~Timed();
  Deadline deadline() const { return Deadline::At(due_); }

 private:
  Worker& worker_;
  const char* const what_;
  const int stops_;
  const Deadline::Clock::time_point due_;
};

// Received messages that are kept a while; each is checked when it came and again before it
// is let go of, so a block that was given away too early shows.
class Held {
 public:
  explicit Held(Worker& worker) : worker_(worker) {}
  ~Held() { Clear(); }
  // Checks, and keeps it or lets it go.
  void Take(const Parcel& parcel, std::vector<Buffer> buffers);
  void Clear();
  // Lets go without a look: in a forked child, whose parent may have handed them back.
  void Forget() { items_.clear(); }

 private:
  void DropOne(size_t index);
  struct Item {
    Parcel parcel;
    std::vector<Buffer> buffers;
  };
  Worker& worker_;
  std::deque<Item> items_;
};

// The roles. Each returns when the stage is kEnd.
void RunHub(Worker& worker);     // listens, sends every message back
void RunPeer(Worker& worker);    // connects, sends and checks what comes back; breaks things
void RunServer(Worker& worker);  // answers calls
void RunCaller(Worker& worker);  // calls
void RunLiar(Worker& worker);    // connects and sends damaged frames

}  // namespace pannier::chaos
