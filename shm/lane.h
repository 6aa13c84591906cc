// Lane: a ring and its doorbell, as two processes hold them. Who reads makes an inbox; who
// writes opens the outbox of it, with the two descriptors that the link carried.
#pragma once

#include <cstdint>
#include <memory>

#include "pannier/base/status.h"
#include "pannier/base/unique_fd.h"
#include "pannier/shm/doorbell.h"
#include "pannier/shm/lane_ring.h"
#include "pannier/shm/mapping.h"

namespace pannier {

inline constexpr uint32_t kLaneCapacity = 256 << 10;

class LaneInbox {
 public:
  // Errors: kSystem. REQUIRES: as InitLaneRing.
  static StatusOr<std::unique_ptr<LaneInbox>> Create(uint32_t capacity = kLaneCapacity);

  LaneReader& reader() { return reader_; }
  Doorbell& doorbell() { return doorbell_; }
  // The ring's memory file, for the writer; the inbox's.
  int ring_fd() const { return ring_.get(); }
  // The writer has its own: the descriptor is not needed any more.
  void CloseRingFd() { ring_ = UniqueFd(); }

 private:
  LaneInbox(UniqueFd ring, Mapping mapping, uint32_t capacity, Doorbell doorbell);
  UniqueFd ring_;
  const Mapping mapping_;
  LaneReader reader_;
  Doorbell doorbell_;
};

class LaneOutbox {
 public:
  // Neither descriptor is trusted. Errors: CorruptMessage, kSystem.
  static StatusOr<std::unique_ptr<LaneOutbox>> Open(UniqueFd ring, UniqueFd doorbell);

  LaneWriter& writer() { return writer_; }
  // What was committed may be waited for: rings if so.
  void Publish() {
    if (writer_.TakeBell()) doorbell_.Ring();
  }

 private:
  LaneOutbox(Mapping mapping, uint32_t capacity, Doorbell doorbell);
  const Mapping mapping_;
  LaneWriter writer_;
  Doorbell doorbell_;
};

}  // namespace pannier
