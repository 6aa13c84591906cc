// Binds the codec: pannier/codec wraps what stands here.
#include "codec.h"

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <nanobind/nanobind.h>
#include <nanobind/stl/string.h>

#include "bind.h"
#include "pannier/codec/compare.h"
#include "pannier/codec/dis.h"
#include "pannier/codec/globals.h"
#include "pannier/codec/opcodes.h"
#include "pannier/codec/optimize.h"
#include "pannier/codec/repr.h"
#include "status.h"
#include "view.h"
#include "wait.h"

namespace nb = nanobind;

namespace pannier::python {
namespace {

// Streams shorter than this are read before another thread could make use of the GIL.
constexpr size_t kWorthTheGil = 64 << 10;

// Whether the bytes stay as they are while Python code runs: those of bytes objects and of
// received messages do; another thread could write to any other memory.
bool Immutable(const Py_buffer& view) {
  return view.obj != nullptr && (PyBytes_CheckExact(view.obj) || nb::isinstance<View>(view.obj));
}

// Bytes that are read in one call.
class Input {
 public:
  explicit Input(nb::handle data) {
    if (PyObject_GetBuffer(data.ptr(), &view_, PyBUF_SIMPLE) != 0) throw nb::python_error();
  }
  ~Input() { PyBuffer_Release(&view_); }
  Input(const Input&) = delete;
  Input& operator=(const Input&) = delete;

  ByteSpan span() const {
    return {static_cast<const std::byte*>(view_.buf), static_cast<size_t>(view_.len)};
  }
  // Runs `call`, without the GIL where that is safe and pays.
  template <typename Call>
  auto Reading(Call&& call) const {
    if (span().size() < kWorthTheGil || !Immutable(view_)) return call();
    return Waiting(std::forward<Call>(call));
  }

 private:
  Py_buffer view_;
};

}  // namespace

codec::DecodeLimits LimitsOf(const nb::dict& numbers) {
  codec::DecodeLimits limits;
  const auto take = [&](const char* name, uint64_t* limit) {
    *limit = nb::cast<uint64_t>(numbers[name]);
  };
  take("stream_bytes", &limits.stream_bytes);
  take("opcodes", &limits.opcodes);
  take("objects", &limits.objects);
  take("memo_entries", &limits.memo_entries);
  take("arena_bytes", &limits.arena_bytes);
  take("depth", &limits.depth);
  take("argument_bytes", &limits.argument_bytes);
  take("comparisons", &limits.comparisons);
  return limits;
}

namespace {

PickleDocument* Decode(nb::handle data, nb::handle buffers, const std::string& encoding,
                       const std::string& errors, bool fix_imports, const nb::dict& limits) {
  auto self = std::make_unique<PickleDocument>();
  std::vector<Buffer> given;
  codec::DecodeOptions options;
  Str8Codec str8(encoding, errors, &options);
  options.fix_imports = fix_imports;
  options.limits = LimitsOf(limits);
  self->comparisons = options.limits.comparisons;
  if (!buffers.is_none()) {
    for (nb::handle object : nb::tuple(buffers)) {
      given.push_back(OwnedBuffer(object));
      self->given.emplace(given.back().owner(),
                          PickleDocument::Given{nb::borrow(object), given.back().readonly()});
    }
    options.buffers = given;
  }
  const Input input(data);
  options.stream_owner = OwnedBuffer(data);
  codec::Decoder decoder;
  const auto run = [&] { return decoder.Decode(input.span(), options, &self->document); };
  auto result = str8.calls_python() ? run() : input.Reading(run);
  str8.Rethrow();
  self->result = ValueOrRaise(std::move(result));
  return self.release();
}

std::string Repr(const PickleDocument& self, size_t most) {
  codec::ReprOptions options;
  options.max_bytes = most;
  return codec::Repr(self.document.root(), options);
}

nb::object Text(const std::string& utf8) {
  return nb::steal(
      PyUnicode_DecodeUTF8(utf8.data(), static_cast<Py_ssize_t>(utf8.size()), "surrogatepass"));
}

nb::tuple Dis(nb::handle data, int indent, int annotate, nb::handle notes, size_t max_bytes) {
  const Input input(data);
  codec::DisOptions options;
  options.indent = indent;
  options.annotate = annotate;
  std::vector<std::string> texts;
  if (annotate != 0) {
    for (nb::handle note : notes) texts.push_back(nb::cast<std::string>(note));
  }
  options.notes = texts;
  options.max_bytes = max_bytes;
  std::string text;
  const Status status = input.Reading([&] { return codec::Dis(input.span(), options, &text); });
  return nb::make_tuple(Text(text), status.ok() ? nb::none() : ExceptionOf(status));
}

nb::bytes Optimize(nb::handle data) {
  const Input input(data);
  const std::string smaller =
      ValueOrRaise(input.Reading([&] { return codec::Optimize(input.span()); }));
  return nb::bytes(smaller.data(), smaller.size());
}

nb::tuple Globals(nb::handle data, bool fix_imports) {
  const Input input(data);
  const codec::GlobalsReport report =
      input.Reading([&] { return codec::FindGlobals(input.span(), {fix_imports}); });
  nb::list uses;
  for (const codec::GlobalUse& use : report.uses) {
    const std::string_view opcode = codec::InfoOf(use.opcode).name;
    uses.append(nb::make_tuple(Text(use.module), Text(use.name), use.offset,
                               nb::str(opcode.data(), opcode.size()), use.extension_code));
  }
  return nb::make_tuple(uses, report.status.ok() ? nb::none() : ExceptionOf(report.status));
}

}  // namespace

void BindCodec(nb::module_& module) {
  nb::class_<PickleDocument>(module, "Document", "A decoded pickle; see pannier.codec.")
      .def("encode", &Encode, nb::arg("protocol"), nb::arg("buffer_callback").none(),
           nb::arg("fix_imports"),
           nb::sig("def encode(self, protocol: int, buffer_callback: Callable[[pickle.PickleBuffer]"
                   ", object] | None, fix_imports: bool) -> bytes"))
      .def("to_python", &ToPython, nb::arg("nodes"),
           nb::sig("def to_python(self, nodes: tuple[type, ...]) -> Any"))
      .def("repr", &Repr, nb::arg("max_bytes"))
      .def("equal",
           [](const PickleDocument& self, const PickleDocument& other) {
             return codec::Equal(self.document, other.document);
           })
      .def("isomorphic",
           [](const PickleDocument& self, const PickleDocument& other) {
             return codec::Isomorphic(self.document, other.document);
           })
      .def_prop_ro("nodes", [](const PickleDocument& self) { return self.document.id_limit() - 1; })
      .def_prop_ro("consumed", [](const PickleDocument& self) { return self.result.consumed; })
      .def_prop_ro("buffers_used",
                   [](const PickleDocument& self) { return self.result.buffers_used; })
      .def_prop_ro("protocol", [](const PickleDocument& self) { return self.result.protocol; });
  module.def("decode", &Decode, nb::arg("data"), nb::arg("buffers").none(), nb::arg("encoding"),
             nb::arg("errors"), nb::arg("fix_imports"), nb::arg("limits"),
             nb::sig("def decode(data: Buffer, buffers: Iterable[Buffer] | None, encoding: str, "
                     "errors: str, fix_imports: bool, limits: dict[str, int]) -> Document"));
  module.def("dis", &Dis, nb::arg("data"), nb::arg("indent"), nb::arg("annotate"), nb::arg("notes"),
             nb::arg("max_bytes"),
             nb::sig("def dis(data: Buffer, indent: int, annotate: int, notes: Iterable[str], "
                     "max_bytes: int) -> "
                     "tuple[str, Exception | None]"));
  module.def("optimize", &Optimize, nb::arg("data"),
             nb::sig("def optimize(data: Buffer) -> bytes"));
  module.def("find_globals", &Globals, nb::arg("data"), nb::arg("fix_imports"),
             nb::sig("def find_globals(data: Buffer, fix_imports: bool) -> "
                     "tuple[list[tuple[str, str, int, str, int]], Exception | None]"));
}

}  // namespace pannier::python
