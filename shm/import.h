// Import: the receiving side of one peer's pool. It holds the segments that the peer
// announced, makes Buffers of the leases that the peer granted, and hands each back
// when the last copy of its Buffer dies, through the return ring: one store into
// shared memory, no system call for a read-only view.
//
// Each segment is mapped lazily and at most twice: shared read-only, and private
// (copy-on-write) for buffers that were writable at the sender. A write to the second
// touches this process's own copy of a page; the pages are dropped before the block
// is handed back. A writable lease whose pages are already offered writable (the same
// block sent twice) gets a private mapping of its own, so that no two Buffers alias.
//
// Thread-safe. Lives as long as the connection or any Buffer made of it. In a forked
// child Buffers stay readable, nothing is handed back, and operations fail with Forked.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "pannier/base/buffer.h"
#include "pannier/base/status.h"
#include "pannier/shm/lease.h"

namespace pannier {

struct ImportStats {
  uint64_t segments = 0;
  uint64_t mapped_bytes = 0;  // addresses, both mappings
  uint64_t held = 0;          // leases with a live Buffer
  uint64_t held_bytes = 0;
};

class Import {
 public:
  // `ring_fd` is the owner's return ring; duplicated or mapped, not kept. Checked: its
  // seals (it cannot shrink) and its size. `peer` is for messages.
  static StatusOr<std::shared_ptr<Import>> Create(std::string peer, int ring_fd);

  virtual ~Import() = default;
  Import(const Import&) = delete;
  Import& operator=(const Import&) = delete;

  // The peer announced a segment. Takes `fd` over, also on error. Checked: seals
  // F_SEAL_SHRINK and F_SEAL_GROW, size equal to the file's. Errors: CorruptMessage
  // (number used already, seal missing, size false).
  virtual Status AddSegment(uint32_t id, int fd, uint64_t size) = 0;
  virtual bool HasSegment(uint32_t id) const = 0;
  // The peer gave the segment back to its system. Buffers in it stay valid; its memory is
  // free when the last of them is gone. Errors: CorruptMessage (unknown number).
  virtual Status RemoveSegment(uint32_t id) = 0;

  // The bytes of a lease as a Buffer whose end hands it back. `writable` offers the
  // copy-on-write mapping and is honoured only if the descriptor is not read-only.
  // Errors: CorruptMessage (unknown segment, range outside, slot outside the ring or held
  // by a live Buffer, generation 0: nothing is handed back), kSystem (mapping failed: the lease is
  // handed back and the connection may go on).
  virtual StatusOr<Buffer> Open(const LeaseDescriptor& lease, bool writable) = 0;
  // Hands a lease back unopened. A descriptor that names no possible lease, or one whose
  // Buffer lives, is ignored: Open refuses it.
  virtual void HandBack(const LeaseDescriptor& lease) = 0;

  // Keeps `object` until the Import and every Buffer made of it are gone: the transport
  // ties the link's socket to it, whose end tells the owner that nothing is held here
  // any more. Dropped on the thread that drops the last of them.
  virtual void KeepAlive(std::shared_ptr<void> object) = 0;

  virtual ImportStats Stats() const = 0;

 protected:
  Import() = default;
};

}  // namespace pannier
