#include "pannier/codec/convert.h"

#include <algorithm>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "pannier/codec/convert_array.h"
#include "pannier/codec/convert_shapes.h"

namespace pannier::codec {
namespace {

constexpr size_t kShownText = 40;  // bytes of a stranger's text in a message

std::string Quoted(std::string_view text, char quote) {
  const bool whole = text.size() <= kShownText;
  // The cut may fall into a character: what is left of it is escaped.
  return absl::StrCat(std::string(1, quote),
                      absl::Utf8SafeCHexEscape(ToAbsl(text.substr(0, kShownText))),
                      whole ? "" : "...", std::string(1, quote));
}

std::string KeyText(const Value& key) {
  if (key.is(Kind::kStr) || key.is(Kind::kStr8)) return Quoted(key.text(), '"');
  if (key.is(Kind::kInt)) return absl::StrCat(key.int_value());
  return Describe(key);
}

uint64_t DefaultMaxBytes(const Document& document, uint64_t message_bytes) {
  uint64_t bytes = ConvertOptions::kBaseBytes + 64 * document.capacity() + 8 * message_bytes;
  for (const Buffer& buffer : document.buffers()) bytes += 2 * buffer.size();
  return bytes;
}

}  // namespace

std::string DottedName(const Value& global) {
  std::string name = absl::Utf8SafeCHexEscape(ToAbsl(global.module_name().substr(0, kShownText)));
  absl::StrAppend(&name, ".",
                  absl::Utf8SafeCHexEscape(ToAbsl(global.global_name().substr(0, kShownText))));
  return name;
}

Conversion::Conversion(const Document& document, const ConvertOptions& options, ErrorKind kind)
    : document_(document),
      kind_(kind),
      max_bytes_(options.max_bytes != 0 ? options.max_bytes
                                        : DefaultMaxBytes(document, options.message_bytes)),
      max_depth_(options.max_depth),
      bytes_left_(max_bytes_),
      taken_(document.buffers().size(), false) {}

Place Place::Quiet() const {
  Place quiet(*this, Step::kQuiet, Value(), 0, {});
  quiet.depth_ = depth_;
  quiet.quiet_ = true;
  return quiet;
}

std::string Place::Path() const {
  std::vector<const Place*> way;
  for (const Place* place = this; place != nullptr; place = place->parent_) way.push_back(place);
  std::string path;
  for (auto it = way.rbegin(); it != way.rend(); ++it) {
    const Place& place = **it;
    switch (place.step_) {
      case Step::kRoot:
        absl::StrAppend(&path, ToAbsl(place.text_));
        break;
      case Step::kArgument:
        absl::StrAppend(&path, ToAbsl(place.text_), place.index_);
        break;
      case Step::kItem:
        absl::StrAppend(&path, "[", place.index_, "]");
        break;
      case Step::kKey:
        absl::StrAppend(&path, "[", KeyText(place.key_), "]");
        break;
      case Step::kKeyItself:
        path = absl::StrCat("key ", KeyText(place.key_), " of ", path);
        break;
      case Step::kField:
        absl::StrAppend(&path, ".", ToAbsl(place.text_));
        break;
      case Step::kQuiet:
        break;
    }
  }
  return path;
}

Status Place::Expected(std::string_view expected, const Value& found) const {
  if (quiet_) return Error(std::string_view());
  return Error(absl::StrCat("expected ", ToAbsl(expected), ", found ", Describe(found)));
}

Status Place::Error(std::string_view what) const {
  if (quiet_) return Status(absl::StatusCode::kInvalidArgument, "");
  return MakeError(conversion_->kind_, absl::StrCat(Path(), ": ", ToAbsl(what)));
}

Status Place::Error(const Status& status) const { return Error(FromAbsl(status.message())); }

bool Place::Take(const Value& buffer) const {
  const size_t index = buffer.buffer_index();
  if (index >= conversion_->taken_.size() || conversion_->taken_[index]) return false;
  conversion_->taken_[index] = true;
  return true;
}

Status Place::TooManyBytes() const {
  return MakeError(
      ErrorKind::kLimit,
      absl::StrCat(Path(), ": the values of this message need more than ", conversion_->max_bytes_,
                   " bytes; raise ConvertOptions::max_bytes if they may"));
}

Status Place::TooDeep() const {
  return MakeError(ErrorKind::kLimit, absl::StrCat("nested deeper than ", conversion_->max_depth_,
                                                   " levels (ConvertOptions::max_depth)"));
}

std::string Describe(const Value& value) {
  switch (value.kind()) {
    case Kind::kBool:
      return value.bool_value() ? "bool True" : "bool False";
    case Kind::kInt:
      return absl::StrCat("int ", value.int_value());
    case Kind::kBigInt:
      return absl::StrCat("int of ", value.text().size(), " bytes");
    case Kind::kFloat:
      return absl::StrCat("float ", value.float_value());
    case Kind::kStr:
    case Kind::kStr8:
      return absl::StrCat("str ", Quoted(value.text(), '\''));
    case Kind::kBytes:
    case Kind::kByteArray:
      return absl::StrCat(ToAbsl(KindName(value.kind())), " of ", value.text().size(), " bytes");
    case Kind::kTuple:
    case Kind::kList:
    case Kind::kDict:
    case Kind::kSet:
    case Kind::kFrozenSet:
      return absl::StrCat(ToAbsl(KindName(value.kind())), " of ", value.size());
    case Kind::kGlobal:
      return absl::StrCat("the name ", DottedName(value));
    case Kind::kReduce:
    case Kind::kNewObj:
    case Kind::kNewObjEx:
    case Kind::kInstance: {
      Value callee = value.callee();
      if (IsNumpyCore(callee, "multiarray", "scalar")) return "a NumPy scalar";
      if (LooksLikeArray(value)) return "an array";
      const auto args = ArgumentsOf(value);
      if (args && !args->empty() &&
          (IsCopyreg(callee, "_reconstructor") || IsCopyreg(callee, "__newobj__"))) {
        callee = (*args)[0];
      }
      if (!callee.is(Kind::kGlobal)) return "an object that a stream computes";
      return absl::StrCat("what ", DottedName(callee), " makes");
    }
    default:
      return std::string(KindName(value.kind()));
  }
}

Value Builder::Fail(Status status) {
  if (status_.ok()) status_ = std::move(status);
  return Value::None();
}

Value Builder::Fail(std::string_view what) { return Fail(MakeError(ErrorKind::kPickling, what)); }

Value Builder::Utc() {
  if (utc_.is_none()) {
    const Value zero = document_.NewReduce(document_.NewGlobal("datetime", "timedelta"),
                                           {Value::Int(0), Value::Int(0), Value::Int(0)});
    utc_ = document_.NewReduce(document_.NewGlobal("datetime", "timezone"), {zero});
  }
  return utc_;
}

}  // namespace pannier::codec
