#include "pannier/codec/convert_array.h"

#include <cstring>

#include "absl/strings/str_cat.h"
#include "pannier/codec/array_spelling.h"
#include "pannier/codec/convert_dtype.h"
#include "pannier/codec/convert_shapes.h"

namespace pannier::codec {
namespace {

// An array and who else may use its bytes.
struct Found {
  AnyArray array;
  bool fresh = false;  // the bytes were copied for this array
  Value data;
};

StatusOr<AnyArray> Lay(const Spelling& spelling, Buffer buffer) {
  if (spelling.strides) {
    return AnyArray::Over(spelling.dtype, spelling.shape, *spelling.strides, std::move(buffer),
                          spelling.offset);
  }
  return AnyArray::Over(spelling.dtype, spelling.shape, spelling.order, std::move(buffer),
                        spelling.offset);
}

// `writable`: a copy is, whatever it was made of.
StatusOr<Found> Find(const Value& value, const Place& place, std::string_view expected,
                     const DType* wanted, bool writable = false) {
  PANNIER_ASSIGN_OR_RETURN(const Spelling spelling, SpellingOf(value, place, expected, wanted));
  if (spelling.made) {
    PANNIER_RETURN_IF_ERROR(place.Charge(spelling.made->size()));
    PANNIER_ASSIGN_OR_RETURN(AnyArray made, Lay(spelling, *spelling.made));
    return Found{std::move(made), true, spelling.data};
  }
  auto bytes = spelling.own_copy ? OldBytesOf(spelling.data, place.document())
                                 : BytesLikeOf(spelling.data, place.document());
  if (!bytes) {
    return place.Error(absl::StrCat("the array's contents are ", Describe(spelling.data)));
  }
  const size_t size = bytes->bytes.size();
  // First the checks, then the copy.
  StatusOr<AnyArray> array = Lay(spelling, bytes->bytes);
  if (!array.ok()) return place.Error(array.status());
  if (spelling.exact && array->size_bytes() != size) {
    return place.Error(absl::StrCat("an array of shape ", ShapeText(array->shape()), " and dtype ",
                                    array->dtype().Name(), " needs ", array->size_bytes(),
                                    " bytes, its buffer has ", size));
  }
  if (bytes->out_of_band) return Found{*std::move(array), false, spelling.data};
  PANNIER_RETURN_IF_ERROR(place.Charge(size));
  Buffer copy = AllocateBuffer(size);
  if (size > 0) std::memcpy(copy.mutable_data(), bytes->bytes.data(), size);
  if (!writable && !spelling.own_copy && !bytes->mutable_type) copy = copy.AsReadonly();
  PANNIER_ASSIGN_OR_RETURN(AnyArray fresh, Lay(spelling, std::move(copy)));
  return Found{std::move(fresh), true, spelling.data};
}

Status CheckDType(DType found, DType wanted, bool any_order, const Place& place) {
  if (found == wanted) return absl::OkStatus();
  DType native = found;
  native.big_endian = false;
  if (native == wanted && any_order) return absl::OkStatus();
  return place.Error(
      absl::StrCat("expected ", wanted.Name(), " array, found ", found.Name(), " array",
                   native == wanted ? "; a pannier::Array takes it, and converts it" : ""));
}

// Makes the bools of structures 0 or 1, in a copy if one of them is neither.
StatusOr<AnyArray> CleanRecords(AnyArray array, const Place& place) {
  const RecordLayout& layout = *array.dtype().layout;
  if (layout.bools.empty()) return array;
  bool clean = array.is_dense();
  for (size_t i = 0; clean && i < array.size(); ++i) {
    for (const size_t at : layout.bools) {
      clean = clean && static_cast<uint8_t>(array.data()[i * layout.itemsize + at]) <= 1;
    }
  }
  if (clean) return array;
  PANNIER_RETURN_IF_ERROR(place.Charge(array.size_bytes()));
  const bool readonly = array.readonly();
  array = array.Copy();
  std::byte* const data = array.buffer().mutable_data();
  for (size_t i = 0; i < array.size(); ++i) {
    for (const size_t at : layout.bools) {
      std::byte& item = data[i * layout.itemsize + at];
      item = static_cast<std::byte>(item != std::byte{0});
    }
  }
  return readonly ? array.AsReadonly() : array;
}

// Other processes may say that a bool is 2; C++ may not look at such a bool.
StatusOr<AnyArray> CleanBools(AnyArray array, const Place& place) {
  if (array.dtype().kind == DTypeKind::kStruct) return CleanRecords(std::move(array), place);
  if (array.dtype().kind != DTypeKind::kBool) return array;
  uint8_t all = 0;
  if (array.is_dense()) {
    for (size_t i = 0; i < array.size(); ++i) all |= static_cast<uint8_t>(array.data()[i]);
  } else {
    all = 2;  // scattered: not worth a look
  }
  if ((all & ~1) == 0) return array;
  PANNIER_RETURN_IF_ERROR(place.Charge(array.size_bytes()));
  const bool readonly = array.readonly();
  array = array.Copy();
  for (std::byte& element : array.buffer().mutable_span()) {
    element = static_cast<std::byte>(element != std::byte{0});
  }
  return readonly ? array.AsReadonly() : array;
}

Value ShapeValue(std::span<const size_t> shape, size_t factor, Document& document) {
  absl::InlinedVector<Value, 8> extents;
  for (const size_t extent : shape) extents.push_back(document.NewUnsigned(extent * factor));
  return document.NewTuple(std::span<const Value>(extents.data(), extents.size()));
}

Value ReconstructValue(const AnyArray& array, Document& document) {
  const AnyArray plain = array.is_c() || array.is_fortran() ? array : array.CopyToC();
  const Value call =
      document.NewReduce(document.NewGlobal("numpy.core.multiarray", "_reconstruct"),
                         {document.NewGlobal("numpy", "ndarray"),
                          document.NewTuple({Value::Int(0)}), document.NewBytes(AsBytes("b"))});
  document.Hold(plain.buffer());
  const Value data = document.NewBytesView({plain.data(), plain.size_bytes()});
  document.AddState(call, document.NewTuple({Value::Int(1), ShapeValue(plain.shape(), 1, document),
                                             DTypeTo(plain.dtype(), document),
                                             Value::Bool(plain.order() == Order::kFortran), data}));
  return call;
}

}  // namespace

bool IsNumpyCore(const Value& value, std::string_view module, std::string_view name) {
  if (!value.is(Kind::kGlobal) || value.global_name() != name) return false;
  std::string_view path = value.module_name();
  for (const std::string_view package : {"numpy.core.", "numpy._core."}) {
    if (path.starts_with(package)) return path.substr(package.size()) == module;
  }
  return false;
}

bool LooksLikeArray(const Value& value) {
  if (!value.is(Kind::kReduce)) return false;
  const Value callee = value.callee();
  return IsNumpyCore(callee, "numeric", "_frombuffer") ||
         IsNumpyCore(callee, "multiarray", "_reconstruct") || callee.IsGlobal("numpy", "ndarray") ||
         callee.IsGlobal("array", "_array_reconstructor") || callee.IsGlobal("array", "array");
}

StatusOr<AnyArray> ArrayFrom(const Value& value, const Place& place, std::string_view expected) {
  PANNIER_ASSIGN_OR_RETURN(Found found, Find(value, place, expected, nullptr));
  return std::move(found.array);
}

StatusOr<AnyArray> ArrayFrom(const Value& value, const Place& place, DType dtype,
                             size_t alignment) {
  PANNIER_ASSIGN_OR_RETURN(Found found, Find(value, place, dtype.Name() + " array", &dtype));
  PANNIER_RETURN_IF_ERROR(CheckDType(found.array.dtype(), dtype, /*any_order=*/false, place));
  if (!found.array.aligned(alignment)) {
    PANNIER_RETURN_IF_ERROR(place.Charge(found.array.size_bytes()));
    const bool readonly = found.array.readonly();
    found.array = found.array.Copy();
    if (readonly) found.array = found.array.AsReadonly();
  }
  return CleanBools(std::move(found.array), place);
}

StatusOr<AnyArray> OwnArrayFrom(const Value& value, const Place& place, DType dtype,
                                size_t alignment) {
  PANNIER_ASSIGN_OR_RETURN(Found found,
                           Find(value, place, dtype.Name() + " array", &dtype, /*writable=*/true));
  AnyArray& array = found.array;
  PANNIER_RETURN_IF_ERROR(CheckDType(array.dtype(), dtype, /*any_order=*/true, place));
  const bool as_it_is = !array.readonly() && array.is_dense() && array.aligned(alignment) &&
                        !array.dtype().big_endian &&
                        (found.fresh || (found.data.is(Kind::kBuffer) && place.Take(found.data)));
  if (!as_it_is) {
    PANNIER_RETURN_IF_ERROR(place.Charge(array.size_bytes()));
    array = array.Copy();
  }
  return CleanBools(std::move(array), place);
}

Value ArrayTo(const AnyArray& array, Builder& builder) {
  Document& document = builder.document();
  if (builder.protocol() < 5) return ReconstructValue(array, document);
  const AnyArray dense = array.is_dense() ? array : array.CopyToC();
  const size_t offset = static_cast<size_t>(dense.data() - dense.buffer().data());
  const Value shape = ShapeValue(dense.shape(), 1, document);
  // A structure has no code that says its fields.
  const Value code = dense.dtype().kind == DTypeKind::kStruct
                         ? DTypeTo(dense.dtype(), document)
                         : document.InternStr(dense.dtype().Code());
  const Value data = document.NewBuffer(dense.buffer().Slice(offset, dense.size_bytes()));
  const Value ndarray = document.NewGlobal("numpy", "ndarray");
  if (dense.is_c()) return document.NewReduce(ndarray, {shape, code, data});
  if (dense.is_fortran()) {
    return document.NewReduce(
        ndarray, {shape, code, data, Value::Int(0), Value::None(), document.InternStr("F")});
  }
  const Value strides = ShapeValue(dense.strides(), dense.dtype().itemsize, document);
  return document.NewReduce(ndarray, {shape, code, data, Value::Int(0), strides});
}

}  // namespace pannier::codec
