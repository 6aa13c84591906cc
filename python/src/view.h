// Bytes that cross the border: a pannier::Buffer seen by Python, and Python's buffers seen by
// the library.
#pragma once

#include <span>
#include <utility>
#include <vector>

#include <nanobind/nanobind.h>

#include "pannier/base/buffer.h"

namespace pannier::python {

// pannier._core.View: a Buffer with Python's buffer protocol, one-dimensional, format 'B',
// read-only as the Buffer is. Its end releases the Buffer, on whatever thread that is, with the
// GIL held, but for a large received one, whose pages have to be dropped first.
struct View {
  enum class Origin : bool { kReceived, kOwn };
  explicit View(Buffer of, Origin where = Origin::kReceived)
      : buffer(std::move(of)), origin(where) {}
  View(View&&) noexcept = default;
  View& operator=(View&&) noexcept = default;
  ~View();  // REQUIRES: the GIL.

  Buffer buffer;
  Origin origin;
};

void BindView(nanobind::module_& module);

// A list of Views. REQUIRES: the GIL.
nanobind::list ViewsOf(std::vector<Buffer> buffers);

// The memory of Python objects, borrowed for a call: held by PyObject_GetBuffer until the end
// of this. Made and destroyed under the GIL. The constructor raises what the objects raise:
// TypeError (no buffer), BufferError (not contiguous).
class BorrowedBuffers {
 public:
  BorrowedBuffers(nanobind::handle stream, nanobind::handle buffers);
  ~BorrowedBuffers();
  BorrowedBuffers(const BorrowedBuffers&) = delete;
  BorrowedBuffers& operator=(const BorrowedBuffers&) = delete;

  ByteSpan stream() const { return stream_; }
  std::span<const Buffer> buffers() const { return buffers_; }

 private:
  const Py_buffer& Add(nanobind::handle object);
  void Release();

  std::vector<Py_buffer> held_;
  ByteSpan stream_;
  std::vector<Buffer> buffers_;
};

// The memory of a Python object as a Buffer that keeps the object: its end takes the GIL, on
// whatever thread that is, and drops it. REQUIRES: the GIL. Raises as above.
Buffer OwnedBuffer(nanobind::handle object);

}  // namespace pannier::python
