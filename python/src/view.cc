#include "view.h"

#include <string>
#include <utility>

#include <nanobind/stl/string.h>

#include "wait.h"

namespace nb = nanobind;

namespace pannier::python {
namespace {

// What Python is shown for a Buffer of no bytes, which has no address.
std::byte g_nothing{};

int GetBuffer(PyObject* self, Py_buffer* view, int flags) {
  const Buffer& buffer = nb::inst_ptr<View>(self)->buffer;
  std::byte* data = buffer.size() == 0 ? &g_nothing : const_cast<std::byte*>(buffer.data());
  return PyBuffer_FillInfo(view, self, data, static_cast<Py_ssize_t>(buffer.size()),
                           buffer.readonly() ? 1 : 0, flags);
}

PyType_Slot kViewSlots[] = {
    {Py_bf_getbuffer, reinterpret_cast<void*>(GetBuffer)},
    {0, nullptr},
};

std::string Repr(const View& view) {
  return "<pannier._core.View of " + std::to_string(view.buffer.size()) + " bytes, " +
         (view.buffer.readonly() ? "read-only" : "writable") + ">";
}

Buffer BufferFrom(const Py_buffer& view, BufferOwner* owner) {
  return Buffer(static_cast<std::byte*>(view.buf), static_cast<size_t>(view.len),
                view.readonly != 0, owner);
}

class PythonOwner final : public BufferOwner {
 public:
  explicit PythonOwner(nb::handle object) {
    if (PyObject_GetBuffer(object.ptr(), &view_, PyBUF_ANY_CONTIGUOUS) != 0) {
      throw nb::python_error();
    }
  }
  const Py_buffer& view() const { return view_; }

 private:
  ~PythonOwner() = default;
  void Dispose() noexcept override {
    // Past the end of the interpreter its objects are nobody's.
    if (!ShuttingDown()) {
      const nb::gil_scoped_acquire gil;
      PyBuffer_Release(&view_);
    }
    delete this;
  }

  Py_buffer view_;
};

}  // namespace

// Dropping this many written pages takes long enough for others to run meanwhile: 64 MiB take
// half a millisecond to six.
constexpr size_t kLongDrop = 1 << 20;

View::~View() {
  if (origin == Origin::kOwn || buffer.size() < kLongDrop || buffer.readonly() || ShuttingDown()) {
    return;
  }
  const WaitScope scope;
  buffer = Buffer();
}

void BindView(nb::module_& module) {
  nb::class_<View>(module, "View", nb::type_slots(kViewSlots), nb::is_weak_referenceable(),
                   nb::is_final(), nb::sig("class View(typing_extensions.Buffer)"),
                   "Bytes outside the Python heap: of a received message or of a pool.\n\n"
                   "Has the buffer protocol (one-dimensional, format 'B'). The bytes live as "
                   "long as the view or anything made of it; when the last of these dies, on "
                   "any thread, a received buffer is handed back to its sender.")
      .def("__len__", [](const View& view) { return view.buffer.size(); })
      .def_prop_ro(
          "nbytes", [](const View& view) { return view.buffer.size(); }, "Bytes.")
      .def_prop_ro(
          "readonly", [](const View& view) { return view.buffer.readonly(); },
          "True if the bytes must not be written to.")
      .def("__repr__", &Repr);
}

nb::list ViewsOf(std::vector<Buffer> buffers) {
  nb::list views;
  for (Buffer& buffer : buffers) views.append(View(std::move(buffer)));
  return views;
}

BorrowedBuffers::BorrowedBuffers(nb::handle stream, nb::handle buffers) {
  // A tuple of our own: getting a buffer may run Python code.
  const nb::tuple items = nb::tuple(buffers);
  held_.reserve(items.size() + 1);
  buffers_.reserve(items.size());
  try {
    const Buffer bytes = BufferFrom(Add(stream), nullptr);
    stream_ = bytes.span();
    for (nb::handle item : items) buffers_.push_back(BufferFrom(Add(item), nullptr));
  } catch (...) {
    Release();
    throw;
  }
}

BorrowedBuffers::~BorrowedBuffers() { Release(); }

const Py_buffer& BorrowedBuffers::Add(nb::handle object) {
  Py_buffer view;
  if (PyObject_GetBuffer(object.ptr(), &view, PyBUF_ANY_CONTIGUOUS) != 0) throw nb::python_error();
  held_.push_back(view);
  return held_.back();
}

void BorrowedBuffers::Release() {
  for (Py_buffer& view : held_) PyBuffer_Release(&view);
  held_.clear();
}

Buffer OwnedBuffer(nb::handle object) {
  auto* owner = new PythonOwner(object);
  return BufferFrom(owner->view(), owner);
}

}  // namespace pannier::python
