// The 8-bit strings of Python 2 in the encodings of Python.
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "codec.h"

namespace nb = nanobind;

namespace pannier::python {
namespace {

std::optional<codec::Str8Encoding> EncodingOf(std::string_view name) {
  if (name.empty()) return codec::Str8Encoding::kKeep;
  if (name == "ascii") return codec::Str8Encoding::kAscii;
  if (name == "iso8859-1") return codec::Str8Encoding::kLatin1;
  if (name == "utf-8") return codec::Str8Encoding::kUtf8;
  if (name == "bytes") return codec::Str8Encoding::kBytes;
  return std::nullopt;
}

std::optional<codec::Str8Errors> ErrorsOf(std::string_view name) {
  if (name == "strict") return codec::Str8Errors::kStrict;
  if (name == "ignore") return codec::Str8Errors::kIgnore;
  if (name == "replace") return codec::Str8Errors::kReplace;
  if (name == "surrogateescape") return codec::Str8Errors::kSurrogateEscape;
  return std::nullopt;
}

nb::object Owned(PyObject* object) {
  if (object == nullptr) throw nb::python_error();
  return nb::steal(object);
}

}  // namespace

Str8Codec::Str8Codec(std::string encoding, std::string errors, codec::DecodeOptions* options)
    : encoding_(std::move(encoding)), errors_(std::move(errors)) {
  const auto known_encoding = EncodingOf(encoding_);
  const auto known_errors = ErrorsOf(errors_);
  const bool is_text =
      known_encoding != codec::Str8Encoding::kKeep && known_encoding != codec::Str8Encoding::kBytes;
  options->encoding = known_encoding.value_or(codec::Str8Encoding::kKeep);
  options->errors = known_errors.value_or(codec::Str8Errors::kStrict);
  calls_python_ = !known_encoding || (is_text && !known_errors);
  if (calls_python_) {
    options->decode_str8 = [this](std::string_view bytes) { return Decode(bytes); };
  }
}

StatusOr<std::string> Str8Codec::Decode(std::string_view bytes) {
  try {
    const nb::object text = Owned(PyUnicode_Decode(
        bytes.data(), static_cast<Py_ssize_t>(bytes.size()), encoding_.c_str(), errors_.c_str()));
    const nb::object utf8 = Owned(PyUnicode_AsEncodedString(text.ptr(), "utf-8", "surrogatepass"));
    return std::string(PyBytes_AS_STRING(utf8.ptr()),
                       static_cast<size_t>(PyBytes_GET_SIZE(utf8.ptr())));
  } catch (const nb::python_error& error) {
    if (error.matches(PyExc_UnicodeError)) {
      return MakeError(ErrorKind::kUnpickling, nb::str(error.value()).c_str());
    }
    raised_ = std::current_exception();
    return MakeError(ErrorKind::kInterrupted, absl::StrCat("the codec ", encoding_, " raised"));
  }
}

}  // namespace pannier::python
