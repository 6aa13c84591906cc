#include "pickles.h"

#include <string>
#include <utility>

#include "plain.h"

namespace nb = nanobind;

namespace pannier::python {
namespace {

// A stream up to this is copied where that saves a Python object that shows it.
constexpr size_t kShortStream = 4096;

// Of pickle; set by FindPickle, and kept until the process ends.
PyObject* g_dumps = nullptr;
PyObject* g_loads = nullptr;
PyObject* g_protocol = nullptr;

nb::object OrRaise(PyObject* object) {
  if (object == nullptr) throw nb::python_error();
  return nb::steal(object);
}

}  // namespace

void FindPickle() {
  const nb::module_ pickle = nb::module_::import_("pickle");
  g_dumps = nb::object(pickle.attr("dumps")).release().ptr();
  g_loads = nb::object(pickle.attr("loads")).release().ptr();
  g_protocol = nb::int_(5).release().ptr();
}

nb::object DumpsPlain(nb::handle object) {
  PyObject* arguments[] = {object.ptr(), g_protocol};
  return OrRaise(PyObject_Vectorcall(g_dumps, arguments, std::size(arguments), nullptr));
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
  if (!loads.is_none() || !buffers.empty() || stream.size() > kShortStream) {
    const nb::object view = nb::cast(View(std::move(stream)));
    const nb::list views = ViewsOf(std::move(buffers));
    if (!loads.is_none()) return loads(view, views);
    return nb::handle(g_loads)(view, nb::arg("buffers") = views);
  }
  const ByteSpan bytes = stream.span();
  const nb::object copy = OrRaise(PyBytes_FromStringAndSize(
      reinterpret_cast<const char*>(bytes.data()), static_cast<Py_ssize_t>(bytes.size())));
  stream = Buffer();
  return OrRaise(PyObject_CallOneArg(g_loads, copy.ptr()));
}

}  // namespace pannier::python
