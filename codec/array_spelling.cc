#include "pannier/codec/array_spelling.h"

#include <bit>
#include <cstring>
#include <iterator>
#include <string>

#include "absl/strings/str_cat.h"
#include "pannier/codec/convert_array.h"
#include "pannier/codec/convert_dtype.h"
#include "pannier/codec/convert_scalar.h"
#include "pannier/codec/convert_shapes.h"

namespace pannier::codec {
namespace {

StatusOr<Shape> ShapeFrom(const Value& value, const Place& place) {
  Shape shape;
  if (value.is(Kind::kInt) && value.int_value() >= 0) return Shape({value.int_value()});
  if (!value.is(Kind::kTuple) || value.size() > kMaxRank) {
    return place.Error(
        absl::StrCat("the array's shape is no tuple of at most ", kMaxRank, " numbers"));
  }
  for (const Value& extent : value.items()) {
    if (!extent.is(Kind::kInt) || extent.int_value() < 0) {
      return place.Error(absl::StrCat("the array's shape holds ", Describe(extent)));
    }
    shape.push_back(static_cast<size_t>(extent.int_value()));
  }
  return shape;
}

// Strides in bytes, as Python has them, to strides in elements.
StatusOr<Extents> StridesFrom(const Value& value, DType dtype, const Place& place) {
  PANNIER_ASSIGN_OR_RETURN(Extents strides, ShapeFrom(value, place));
  for (size_t d = 0; d < strides.rank(); ++d) {
    if (strides[d] % dtype.itemsize != 0) {
      return place.Error(absl::StrCat("the array's stride of ", strides[d],
                                      " bytes is no multiple of its elements' ", dtype.itemsize));
    }
    strides[d] /= dtype.itemsize;
  }
  return strides;
}

StatusOr<Order> OrderFrom(const Value& value, const Place& place) {
  if (value.is_none()) return Order::kC;
  if (value.is(Kind::kBool)) return value.bool_value() ? Order::kFortran : Order::kC;
  if (value.is(Kind::kInt)) return value.int_value() != 0 ? Order::kFortran : Order::kC;
  if (IsText(value) && value.text() == "C") return Order::kC;
  if (IsText(value) && value.text() == "F") return Order::kFortran;
  return place.Error(absl::StrCat("the array's order is ", Describe(value)));
}

// What is asked of an array: its description for messages, and its dtype if it is known.
struct Wanted {
  std::string_view name;
  const DType* dtype;
};

StatusOr<DType> DTypeFrom(const Value& value, const Place& place, const Wanted& wanted) {
  std::string name;
  if (const auto dtype = DTypeOf(value, &name, wanted.dtype)) return *dtype;
  return place.Error(absl::StrCat("expected ", ToAbsl(wanted.name), ", found an array of ", name));
}

// A shape in the order of memory, and the axes of the array in it: numpy.ndarray.transpose.
Status Transpose(const Value& axes, Spelling* spelling, const Place& place) {
  const size_t rank = spelling->shape.rank();
  const auto strides = DenseStrides(spelling->shape, Order::kC, spelling->dtype.itemsize);
  const auto items = SequenceItems(axes);
  uint64_t seen = 0;
  Shape shape;
  Extents permuted;
  for (size_t d = 0; strides && items && d < items->size(); ++d) {
    const Value& axis = (*items)[d];
    if (!axis.is(Kind::kInt) || axis.int_value() < 0 ||
        axis.int_value() >= static_cast<int64_t>(rank)) {
      break;
    }
    const auto from = static_cast<size_t>(axis.int_value());
    seen |= uint64_t{1} << from;
    shape.push_back(spelling->shape[from]);
    permuted.push_back((*strides)[from]);
  }
  if (shape.rank() != rank || static_cast<size_t>(std::popcount(seen)) != rank ||
      items->size() != rank) {
    return place.Error("the array's order of axes is not one of its shape");
  }
  spelling->shape = shape;
  spelling->strides = permuted;
  return absl::OkStatus();
}

// _frombuffer(buffer, dtype, shape, order[, axes])
StatusOr<Spelling> FromBufferCall(std::span<const Value> args, const Place& place,
                                  const Wanted& wanted) {
  if (args.size() != 4 && args.size() != 5) return place.Error("_frombuffer takes 4 arguments");
  Spelling spelling;
  PANNIER_ASSIGN_OR_RETURN(spelling.dtype, DTypeFrom(args[1], place, wanted));
  PANNIER_ASSIGN_OR_RETURN(spelling.shape, ShapeFrom(args[2], place));
  spelling.data = args[0];
  if (args.size() == 5 && IsText(args[3]) && args[3].text() == "K") {
    PANNIER_RETURN_IF_ERROR(Transpose(args[4], &spelling, place));
    return spelling;
  }
  PANNIER_ASSIGN_OR_RETURN(spelling.order, OrderFrom(args[3], place));
  return spelling;
}

// ndarray(shape, dtype, buffer[, offset[, strides[, order]]])
StatusOr<Spelling> ConstructorCall(std::span<const Value> args, const Place& place,
                                   const Wanted& wanted) {
  if (args.size() < 3 || args.size() > 6 || args[2].is_none()) {
    return place.Error("an array without contents");
  }
  Spelling spelling;
  PANNIER_ASSIGN_OR_RETURN(spelling.shape, ShapeFrom(args[0], place));
  PANNIER_ASSIGN_OR_RETURN(spelling.dtype, DTypeFrom(args[1], place, wanted));
  spelling.data = args[2];
  spelling.exact = false;
  if (args.size() > 3) {
    if (!args[3].is(Kind::kInt) || args[3].int_value() < 0) {
      return place.Error(absl::StrCat("the array's offset is ", Describe(args[3])));
    }
    spelling.offset = static_cast<size_t>(args[3].int_value());
  }
  if (args.size() > 4 && !args[4].is_none()) {
    PANNIER_ASSIGN_OR_RETURN(spelling.strides, StridesFrom(args[4], spelling.dtype, place));
  }
  if (args.size() > 5) {
    PANNIER_ASSIGN_OR_RETURN(spelling.order, OrderFrom(args[5], place));
  }
  return spelling;
}

// _reconstruct(ndarray, (0,), b'b') with the state ([version,] shape, dtype, fortran, bytes)
StatusOr<Spelling> ReconstructCall(const Value& call, std::span<const Value> args,
                                   const Place& place, const Wanted& wanted) {
  if (args.empty() || !args[0].is(Kind::kGlobal)) return place.Expected(wanted.name, call);
  if (!args[0].IsGlobal("numpy", "ndarray") && !args[0].IsGlobal("numpy", "memmap")) {
    return place.Error(absl::StrCat("expected ", ToAbsl(wanted.name), ", found an instance of ",
                                    DottedName(args[0]), "; numpy.asarray makes a plain array"));
  }
  const Value* state = call.state();
  if (state == nullptr || !state->is(Kind::kTuple) || (state->size() != 4 && state->size() != 5)) {
    return place.Error("the array's state is not the one that NumPy writes");
  }
  const auto items = state->items().last(4);
  Spelling spelling;
  PANNIER_ASSIGN_OR_RETURN(spelling.shape, ShapeFrom(items[0], place));
  PANNIER_ASSIGN_OR_RETURN(spelling.dtype, DTypeFrom(items[1], place, wanted));
  PANNIER_ASSIGN_OR_RETURN(spelling.order, OrderFrom(items[2], place));
  spelling.data = items[3];
  spelling.own_copy = true;
  return spelling;
}

// array._array_reconstructor(array.array, typecode, machine format, bytes)
StatusOr<Spelling> ArrayModuleCall(std::span<const Value> args, const Place& place,
                                   const Wanted& wanted) {
  // By machine format code; the last three are kinds of text.
  static constexpr const char* kFormats[] = {"|u1", "|i1", "<u2", ">u2", "<i2", ">i2",
                                             "<u4", ">u4", "<i4", ">i4", "<u8", ">u8",
                                             "<i8", ">i8", "<f4", ">f4", "<f8", ">f8"};
  if (args.size() != 4 || !args[2].is(Kind::kInt) || args[2].int_value() < 0) {
    return place.Error("_array_reconstructor takes 4 arguments");
  }
  const auto format = static_cast<uint64_t>(args[2].int_value());
  if (format >= std::size(kFormats)) {
    return place.Error(absl::StrCat("expected ", ToAbsl(wanted.name), ", found an array of text"));
  }
  Spelling spelling;
  spelling.dtype = *DType::FromCode(kFormats[format]);
  spelling.data = args[3];
  spelling.own_copy = true;
  if (const auto bytes = BytesLikeOf(args[3], place.document())) {
    spelling.shape = {bytes->bytes.size() / spelling.dtype.itemsize};
  }
  return spelling;
}

// The numbers of `list` as array.array holds them.
template <class T>
StatusOr<Buffer> Pack(std::span<const Value> list, const Place& place) {
  Buffer buffer = AllocateBuffer(list.size() * sizeof(T));
  for (size_t i = 0; i < list.size(); ++i) {
    PANNIER_ASSIGN_OR_RETURN(const T number, From<T>(list[i], place.Item(i)));
    std::memcpy(buffer.mutable_data() + i * sizeof(T), &number, sizeof(T));
  }
  return buffer;
}

// array.array(typecode, list), as protocols below 3 have it.
StatusOr<Spelling> ArrayConstructorCall(std::span<const Value> args, const Place& place,
                                        const Wanted& wanted) {
  if (args.size() != 2 || !IsText(args[0]) || args[0].text().size() != 1 ||
      !args[1].is(Kind::kList)) {
    return place.Error("array.array takes a letter and a list here");
  }
  const auto list = args[1].items();
  Spelling spelling;
  spelling.shape = {list.size()};
  spelling.own_copy = true;
  const auto pack = [&]<class T>(T) -> StatusOr<Spelling> {
    spelling.dtype = DTypeFor<T>();
    PANNIER_ASSIGN_OR_RETURN(spelling.made, Pack<T>(list, place));
    return spelling;
  };
  switch (args[0].text()[0]) {
    case 'b':
      return pack(int8_t{});
    case 'B':
      return pack(uint8_t{});
    case 'h':
      return pack(short{});
    case 'H':
      return pack(static_cast<unsigned short>(0));
    case 'i':
      return pack(int{});
    case 'I':
      return pack(0u);
    case 'l':
      return pack(0L);
    case 'L':
      return pack(0UL);
    case 'q':
      return pack(0LL);
    case 'Q':
      return pack(0ULL);
    case 'f':
      return pack(float{});
    case 'd':
      return pack(double{});
    default:
      return place.Error(
          absl::StrCat("expected ", ToAbsl(wanted.name), ", found an array of text"));
  }
}

}  // namespace

StatusOr<Spelling> SpellingOf(const Value& value, const Place& place, std::string_view expected,
                              const DType* dtype) {
  const Wanted wanted{expected, dtype};
  const auto args = value.is(Kind::kReduce) ? ArgumentsOf(value) : std::nullopt;
  if (args) {
    const Value callee = value.callee();
    if (IsNumpyCore(callee, "numeric", "_frombuffer")) {
      return FromBufferCall(*args, place, wanted);
    }
    if (callee.IsGlobal("numpy", "ndarray")) return ConstructorCall(*args, place, wanted);
    if (IsNumpyCore(callee, "multiarray", "_reconstruct")) {
      return ReconstructCall(value, *args, place, wanted);
    }
    if (callee.IsGlobal("array", "_array_reconstructor")) {
      return ArrayModuleCall(*args, place, wanted);
    }
    if (callee.IsGlobal("array", "array")) return ArrayConstructorCall(*args, place, wanted);
  }
  return place.Expected(wanted.name, value);
}

}  // namespace pannier::codec
