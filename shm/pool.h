// Pool: a process's segments and the allocator over them. The owner allocates blocks
// here, grants leases on them to peers, and gets them back through each peer's return
// ring. All bookkeeping is private memory; of what peers can write, only the cells of
// return rings are read, and each is checked against the ledger (docs/ownership.md).
//
// A block lives while anything holds it: a Buffer of this process, or a lease. It is
// free again when both are gone. Three states follow: allocated (Buffers only), in
// flight or held (leases out).
//
// Thread-safe. Locks are private to the process and never held while waiting. In a forked
// child Buffers stay readable, releasing anything does nothing, and every operation
// fails with Forked (those without a Status do nothing).
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "pannier/base/buffer.h"
#include "pannier/base/deadline.h"
#include "pannier/base/status.h"
#include "pannier/shm/lease.h"

namespace pannier {

struct PoolOptions {
  // Most bytes of segments that the pool may hold. 0: half of the memory that this
  // process may use (the machine's, or the cgroup's limit where that is less), or
  // PANNIER_POOL_QUOTA (bytes; suffixes K, M, G) where it is set.
  uint64_t quota = 0;
  // Most leases that one peer may hold at a time: its credit, and the capacity of its
  // return ring. Rounded up to a power of two.
  uint32_t leases_per_peer = 16384;
  std::string name = "default";  // for messages and repr
  // Bytes of segments, taken and pre-faulted when the pool is made; Maintain leaves them be.
  uint64_t warm = 0;
  // How long any other segment is kept without a used block: see Pool::Maintain.
  absl::Duration idle_time = absl::Seconds(10);
  // The owner's own pages of a block are read-only while leases on it are out, so that a
  // forbidden write ends in SIGSEGV at its line, and a read(2) into the block in EFAULT.
  // PANNIER_DEBUG=1 turns it on for every pool (docs/ownership.md, "Guarded blocks").
  bool guard = false;
};

struct PeerLeases {
  std::string peer;
  uint64_t leases = 0;
  uint64_t bytes = 0;     // sum of the leased ranges
  absl::Duration oldest;  // how long the longest of them has been out, to some milliseconds
};

struct PoolStats {
  uint64_t quota = 0;
  uint64_t segments = 0;
  uint64_t segment_bytes = 0;       // held from the system
  uint64_t blocks = 0;              // allocated or leased
  uint64_t used_bytes = 0;          // of those blocks, whole pages
  uint64_t free_bytes = 0;          // segment_bytes - used_bytes
  uint64_t largest_free_bytes = 0;  // of these, the most that lie together
  uint64_t high_water_bytes = 0;    // most used_bytes ever
  uint64_t allocations = 0;         // since the start
  uint64_t copied_bytes = 0;        // payload copied into blocks by sends, since the start
  std::vector<PeerLeases> peers;    // one per open ledger row
};

// What a peer needs to map a segment. The descriptor stays the pool's, and is open as
// long as the caller holds a Buffer that lies in the segment.
struct SegmentHandle {
  uint32_t id = 0;
  int fd = -1;
  uint64_t size = 0;
};

// One row of the ledger: the leases of one peer. Made when a link is established,
// closed when it ends. Thread-safe.
class LeaseRow {
 public:
  virtual ~LeaseRow() = default;  // closes
  LeaseRow(const LeaseRow&) = delete;
  LeaseRow& operator=(const LeaseRow&) = delete;

  // Grants the peer a lease on [data, data + size), which must lie inside one block
  // that the caller holds (by a Buffer) during the call. Waits until `deadline` for
  // credit. Errors: InvalidArgument (not in a block), PoolExhausted (no credit by the
  // deadline; names the peer), ConnectionLost (row closed), Forked.
  virtual StatusOr<LeaseDescriptor> Grant(const std::byte* data, size_t size, bool readonly,
                                          Deadline deadline) = 0;
  // Takes back a lease whose descriptor was never sent.
  virtual void Revoke(const LeaseDescriptor& lease) = 0;
  // The peer is gone: every lease of the row ends now. Idempotent.
  virtual void Close() = 0;

  // Collects what the peer handed back; the number of leases that came home. Errors:
  // CorruptMessage if a cell names no lease of this row (the cell is dropped, the row
  // stays usable; the connection should be closed).
  virtual StatusOr<size_t> Drain() = 0;

  // The peer said that it holds no lease of this row and opens none any more: they end when they
  // are drained. One read of shared memory.
  virtual bool peer_is_done() const = 0;
  virtual uint64_t leases() const = 0;  // out now, as far as drained
  virtual uint32_t credit() const = 0;  // most that may be out
  virtual int ring_fd() const = 0;      // the return ring's memfd, for the peer; the row's
  virtual const std::string& peer() const = 0;

 protected:
  LeaseRow() = default;
};

class Pool {
 public:
  // Errors: InvalidArgument (options; PANNIER_POOL_QUOTA), and for `warm` those of Allocate.
  static StatusOr<std::shared_ptr<Pool>> Create(const PoolOptions& options = {});
  // The pool that the process's connections use unless told otherwise. Made on first
  // use, never destroyed; in a forked child, a new one.
  static std::shared_ptr<Pool> Default();

  virtual ~Pool() = default;
  Pool(const Pool&) = delete;
  Pool& operator=(const Pool&) = delete;

  // A writable block of at least `size` bytes as a Buffer of exactly `size` bytes,
  // page-aligned, contents unspecified. If the quota is reached, collects what peers
  // handed back and waits for more until `deadline`. Errors: PoolExhausted, naming the
  // peers that hold most; kSystem (memory or descriptors of the machine are used up);
  // Closed; Forked.
  virtual StatusOr<Buffer> Allocate(size_t size, Deadline deadline = Deadline::Now()) = 0;
  // Allocate and copy: counted in copied_bytes.
  virtual StatusOr<Buffer> Copy(ByteSpan bytes, Deadline deadline = Deadline::Now()) = 0;

  // True if [data, data + size) lies inside one allocated block of this pool.
  virtual bool Contains(const std::byte* data, size_t size) const = 0;

  // Opens a ledger row for a peer. `alive` (may be empty) is asked, seldom and under no
  // lock, when the pool waits for memory or counts: false means that the peer is gone, and
  // the row is closed. It must not call back into the pool. A call of it may still run on
  // another thread when LeaseRow::Close returns, so it must share what it looks at; if
  // it owned what owns the row, neither would ever be freed.
  virtual StatusOr<std::unique_ptr<LeaseRow>> OpenRow(std::string peer,
                                                      std::function<bool()> alive) = 0;

  // Takes over the row of a connection that was closed in good order while leases are
  // out: the row is closed when they are home or when its `alive` says no, whichever
  // comes first; looked at when the pool drains.
  virtual void Adopt(std::unique_ptr<LeaseRow> row) = 0;

  // How many leases are out on the block that contains `data`, as far as drained: this
  // drains first. Errors: InvalidArgument (no block of this pool); Forked.
  virtual StatusOr<uint64_t> Leases(const std::byte* data) = 0;
  // Waits until no lease is out on that block. The caller holds a Buffer of it. Errors: as
  // Leases, and DeadlineExceeded.
  virtual Status WaitHome(const std::byte* data, Deadline deadline) = 0;

  // Calls `call` once no lease is out on that block: at once if none is, else on the thread
  // that finds the last one home (in whatever call of the pool or of a connection), perhaps
  // under locks of that caller. So it must not wait nor call pannier: it sets an event. Nobody
  // looks by himself, see Maintain. Errors: as Leases; then it is not called.
  virtual Status WhenHome(const std::byte* data, std::function<void()> call) = 0;

  // The segment that a lease names. Errors: InvalidArgument if there is none (any more:
  // peers to whom it was announced should be told).
  virtual StatusOr<SegmentHandle> Segment(uint32_t id) const = 0;

  // Collects the return rings of all rows.
  virtual void DrainReturns() = 0;
  // Gives segments without a used block back to the system; the bytes given back.
  virtual uint64_t Trim() = 0;
  // Collects the return rings, and gives segments back that have been without a used block
  // for PoolOptions::idle_time. Returns when to call it again; Never if there is nothing to
  // wait for until the next allocation. Before its time it costs two reads, of a word and a
  // clock. Allocate does the same on its way: this is for who waits. The threads that wait on a
  // connection or listener call it.
  virtual Deadline Maintain() = 0;
  // No allocation and no new row from now on: they fail with Closed. Buffers, leases and rows
  // go on; memory goes back to the system as they end. Idempotent.
  virtual void Close() = 0;
  // Drains, drops the rows of peers that are gone, and counts.
  virtual PoolStats Stats() = 0;
  // Checks every invariant of allocator and ledger (docs/ownership.md), for tests.
  virtual Status Audit() = 0;

 protected:
  Pool() = default;
};

}  // namespace pannier
