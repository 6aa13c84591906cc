// Pickles of the objects that calls and messages carry: by pickle.dumps where nothing else can
// matter, by the package's Pickling else; and back. All need the GIL, and raise what pickling
// raises.
#pragma once

#include <optional>
#include <vector>

#include <nanobind/nanobind.h>

#include "pannier/base/buffer.h"
#include "pannier/rpc/raw.h"
#include "view.h"

namespace pannier::python {

// Before all else here, once, while the module is made: to look for pickle runs Python code,
// perhaps, during which another thread must not wait for the result with the GIL.
void FindPickle();
// The stream of a plain object (plain.h): a bytes object.
nanobind::object DumpsPlain(nanobind::handle object);
// What a bytes object holds.
ByteSpan BytesOf(nanobind::handle bytes);

// A stream and its buffers, in memory of Python objects that this keeps.
class Pickled {
 public:
  // `pickling` is one of pannier.pickling.
  Pickled(nanobind::handle object, nanobind::handle pickling);

  ByteSpan stream() const;
  std::span<const Buffer> buffers() const {
    return borrowed_ ? borrowed_->buffers() : std::span<const Buffer>();
  }

 private:
  nanobind::object stream_;  // bytes
  std::optional<BorrowedBuffers> borrowed_;
};

// The same, to be answered with, which may outlive this thread's GIL: a short stream is copied.
RawResult PickledResult(nanobind::handle object, nanobind::handle pickling);

// The object of a message. `loads(stream, buffers)` unpickles it; None: pickle.loads does.
nanobind::object Unpickled(Buffer stream, std::vector<Buffer> buffers, nanobind::handle loads);

}  // namespace pannier::python
