// Doorbell: an eventfd by which one process wakes another. It stays readable from a ring until
// it is silenced, so a wait may begin after the ring; a wait for edges need not silence it. Any
// thread; nothing here waits.
#pragma once

#include "pannier/base/status.h"
#include "pannier/base/unique_fd.h"

namespace pannier {

class Doorbell {
 public:
  // A bell of one's own, to be passed to who shall ring it. Errors: kSystem.
  static StatusOr<Doorbell> Create();
  // A peer's, to ring. Takes the descriptor over. Errors: CorruptMessage (not an eventfd, or
  // one whose write could block).
  static StatusOr<Doorbell> Adopt(UniqueFd fd);

  void Ring();
  void Silence();
  int fd() const { return fd_.get(); }

 private:
  explicit Doorbell(UniqueFd fd) : fd_(std::move(fd)) {}
  UniqueFd fd_;
};

}  // namespace pannier
