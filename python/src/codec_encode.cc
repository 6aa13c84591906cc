#include <exception>
#include <utility>

#include "codec.h"
#include "pannier/codec/encoder.h"
#include "status.h"
#include "wait.h"

namespace nb = nanobind;

namespace pannier::python {
namespace {

// Documents of fewer objects are written before another thread could make use of the GIL.
constexpr uint32_t kWorthTheGil = 10'000;

nb::bytes BytesOf(const codec::Encoded& encoded) {
  return nb::bytes(encoded.stream.data(), encoded.stream.size());
}

}  // namespace

nb::bytes Encode(const PickleDocument& self, int protocol, const nb::object& callback,
                 bool fix_imports) {
  codec::EncodeOptions options;
  options.protocol = protocol;
  options.fix_imports = fix_imports;
  if (callback.is_none()) {
    const auto encode = [&] { return codec::Encode(self.document, self.document.root(), options); };
    if (self.document.id_limit() < kWorthTheGil) return BytesOf(ValueOrRaise(encode()));
    return BytesOf(ValueOrRaise(Waiting(encode)));
  }
  // An exception of the callback stands aside until the encoder has returned.
  std::exception_ptr raised;
  options.place_buffer = [&](const Buffer& buffer) -> StatusOr<codec::BufferPlace> {
    try {
      PyObject* pickle_buffer = PyPickleBuffer_FromObject(self.ObjectOf(buffer).ptr());
      if (pickle_buffer == nullptr) throw nb::python_error();
      const nb::object in_band = callback(nb::steal(pickle_buffer));
      const int truth = PyObject_IsTrue(in_band.ptr());
      if (truth < 0) throw nb::python_error();
      return truth == 1 ? codec::BufferPlace::kInBand : codec::BufferPlace::kOutOfBand;
    } catch (const nb::python_error&) {
      raised = std::current_exception();
      return MakeError(ErrorKind::kInterrupted, "buffer_callback raised");
    }
  };
  StatusOr<codec::Encoded> encoded = codec::Encode(self.document, self.document.root(), options);
  if (raised != nullptr) std::rethrow_exception(raised);
  return BytesOf(ValueOrRaise(std::move(encoded)));
}

}  // namespace pannier::python
