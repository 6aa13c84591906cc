#include "pickles.h"

#include <string>
#include <utility>

#include "plain.h"

namespace nb = nanobind;

namespace pannier::python {
namespace {

// A stream up to this is copied where that saves a Python object that shows it.
constexpr size_t kShortStream = 4096;

// Kept until the process ends.
PyObject* FunctionOfPickle(const char* name) {
  return nb::object(nb::module_::import_("pickle").attr(name)).release().ptr();
}

nb::object OrRaise(PyObject* object) {
  if (object == nullptr) throw nb::python_error();
  return nb::steal(object);
}

}  // namespace

nb::object DumpsPlain(nb::handle object) {
  static PyObject* const dumps = FunctionOfPickle("dumps");
  static PyObject* const protocol = PyLong_FromLong(5);
  PyObject* arguments[] = {object.ptr(), protocol};
  return OrRaise(PyObject_Vectorcall(dumps, arguments, std::size(arguments), nullptr));
}

ByteSpan BytesOf(nb::handle bytes) {
  return {reinterpret_cast<const std::byte*>(PyBytes_AS_STRING(bytes.ptr())),
          static_cast<size_t>(PyBytes_GET_SIZE(bytes.ptr()))};
}

Pickled::Pickled(nb::handle object, nb::handle pickling) {
  if (IsPlain(object)) {
    stream_ = DumpsPlain(object);
    return;
  }
  const auto both = nb::cast<nb::tuple>(pickling(object));
  stream_ = both[0];
  const nb::object buffers = both[1];
  if (nb::len(buffers) > 0) borrowed_.emplace(stream_, buffers);
}

ByteSpan Pickled::stream() const { return BytesOf(stream_); }

RawResult PickledResult(nb::handle object, nb::handle pickling) {
  RawResult result;
  nb::object stream;
  if (IsPlain(object)) {
    stream = DumpsPlain(object);
  } else {
    const auto both = nb::cast<nb::tuple>(pickling(object));
    stream = both[0];
    for (nb::handle buffer : both[1]) result.buffers.push_back(OwnedBuffer(buffer));
  }
  const ByteSpan bytes = BytesOf(stream);
  result.stream =
      bytes.size() <= kShortStream ? BufferOf(std::string(AsText(bytes))) : OwnedBuffer(stream);
  return result;
}

nb::object Unpickled(Buffer stream, std::vector<Buffer> buffers, nb::handle loads) {
  static PyObject* const pickle_loads = FunctionOfPickle("loads");
  if (!loads.is_none() || !buffers.empty() || stream.size() > kShortStream) {
    const nb::object view = nb::cast(View(std::move(stream)));
    const nb::list views = ViewsOf(std::move(buffers));
    if (!loads.is_none()) return loads(view, views);
    return nb::handle(pickle_loads)(view, nb::arg("buffers") = views);
  }
  const ByteSpan bytes = stream.span();
  const nb::object copy = OrRaise(PyBytes_FromStringAndSize(
      reinterpret_cast<const char*>(bytes.data()), static_cast<Py_ssize_t>(bytes.size())));
  stream = Buffer();
  return OrRaise(PyObject_CallOneArg(pickle_loads, copy.ptr()));
}

}  // namespace pannier::python
