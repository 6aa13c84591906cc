#include "pannier/shm/lane.h"

#include <utility>

#include "pannier/shm/memfd.h"

namespace pannier {

StatusOr<std::unique_ptr<LaneInbox>> LaneInbox::Create(uint32_t capacity) {
  const uint64_t size = RoundUp(LaneRingBytes(capacity), PageBytes());
  PANNIER_ASSIGN_OR_RETURN(UniqueFd ring, CreateMemfd("pannier-lane", size));
  PANNIER_ASSIGN_OR_RETURN(Mapping mapping, Mapping::Create(ring.get(), Access::kShared, 0, size));
  PANNIER_RETURN_IF_ERROR(SealSize(ring.get()));
  PANNIER_ASSIGN_OR_RETURN(Doorbell doorbell, Doorbell::Create());
  InitLaneRing(mapping.data(), capacity);
  return std::unique_ptr<LaneInbox>(
      new LaneInbox(std::move(ring), std::move(mapping), capacity, std::move(doorbell)));
}

LaneInbox::LaneInbox(UniqueFd ring, Mapping mapping, uint32_t capacity, Doorbell doorbell)
    : ring_(std::move(ring)),
      mapping_(std::move(mapping)),
      reader_(mapping_.data(), capacity),
      doorbell_(std::move(doorbell)) {}

StatusOr<std::unique_ptr<LaneOutbox>> LaneOutbox::Open(UniqueFd ring, UniqueFd doorbell) {
  PANNIER_ASSIGN_OR_RETURN(const uint64_t size, CheckSealed(ring.get(), "lane"));
  if (size > RoundUp(LaneRingBytes(LaneRingHeader::kGreatestCapacity), PageBytes())) {
    return MakeError(ErrorKind::kCorruptMessage, "lane: the ring's file is too large");
  }
  PANNIER_ASSIGN_OR_RETURN(Doorbell bell, Doorbell::Adopt(std::move(doorbell)));
  PANNIER_ASSIGN_OR_RETURN(Mapping mapping, Mapping::Create(ring.get(), Access::kShared, 0, size));
  PANNIER_ASSIGN_OR_RETURN(const uint32_t capacity, CheckLaneRing(mapping.data(), size));
  return std::unique_ptr<LaneOutbox>(new LaneOutbox(std::move(mapping), capacity, std::move(bell)));
}

LaneOutbox::LaneOutbox(Mapping mapping, uint32_t capacity, Doorbell doorbell)
    : mapping_(std::move(mapping)),
      writer_(mapping_.data(), capacity),
      doorbell_(std::move(doorbell)) {}

}  // namespace pannier
