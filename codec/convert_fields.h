// The fields of a struct, as PythonClass, PythonDict and NumpyRecord list them, and how the direct
// way reads them.
#pragma once

#include <algorithm>
#include <bitset>
#include <cstddef>
#include <optional>
#include <string_view>
#include <tuple>
#include <type_traits>
#include <utility>

#include "pannier/codec/convert.h"
#include "pannier/codec/convert_direct.h"
#include "pannier/codec/field.h"

namespace pannier::codec {

namespace internal {

template <class T>
inline constexpr bool kIsOptional = false;
template <class T>
inline constexpr bool kIsOptional<std::optional<T>> = true;

// `Trait` is what lists the fields.
template <class Trait, class T, class... M>
constexpr bool FieldsBorrow(const std::tuple<ClassField<T, M>...>&) {
  if constexpr (requires { Trait::kBorrows; }) {
    return Trait::kBorrows;
  } else {
    return (kBorrowsDocument<M> || ...);
  }
}
// Not asked of a struct that can contain itself, and says so: it would ask itself.
template <class Trait, class T, class... M>
constexpr bool FieldsDirect(const std::tuple<ClassField<T, M>...>&) {
  if constexpr (requires { Trait::kBorrows; }) {
    return false;
  } else {
    return sizeof...(M) > 0 && (kReadsDirectly<M> && ...);
  }
}

// Learns DirectReader::Phrases from the reading of one struct.
class PhraseLearner {
 public:
  PhraseLearner(DirectReader& in, DirectReader::Phrases* phrases, size_t fields)
      : in_(in), phrases_(*phrases), from_(in.place()) {
    active_ = !phrases->known && phrases->attempts < kMostAttempts;
    if (!active_) return;
    ++phrases->attempts;
    phrases->before.assign(fields, {});
  }
  // The value of the field at `index` begins here, and ends.
  void Begin(size_t index) {
    if (!active_) return;
    active_ = index == next_++ && in_.Learn(from_, in_.place(), &phrases_.before[index]);
  }
  void End() { from_ = in_.place(); }
  // The struct ends here.
  bool Done() {
    if (active_) {
      phrases_.memo_count = in_.place().memo_count;
      phrases_.known =
          next_ == phrases_.before.size() && in_.Learn(from_, in_.place(), &phrases_.suffix);
    }
    return true;
  }

 private:
  static constexpr uint8_t kMostAttempts = 8;

  DirectReader& in_;
  DirectReader::Phrases& phrases_;
  DirectReader::Place from_;
  size_t next_ = 0;
  bool active_;
};

// Reads the fields of one T.
template <class T, class... M>
class FieldReader {
 public:
  using Fields = std::tuple<ClassField<T, M>...>;
  static constexpr size_t kCount = sizeof...(M);

  FieldReader(DirectReader& in, const Fields& fields, T* out, PhraseLearner* learner)
      : in_(in), fields_(fields), out_(out), learner_(learner) {}

  // The field at `index`, of which the value comes next.
  bool Read(size_t index) {
    if (learner_ != nullptr) learner_->Begin(index);
    const bool good = [&]<size_t... I>(std::index_sequence<I...>) {
      bool read = false;
      static_cast<void>(((I == index && (read = ReadField<I>(), true)) || ...));
      return read;
    }
    (std::make_index_sequence<kCount>());
    if (learner_ != nullptr) learner_->End();
    return good;
  }
  std::string_view NameAt(size_t index) const {
    return [&]<size_t... I>(std::index_sequence<I...>) {
      std::string_view name;
      static_cast<void>(((I == index && (name = std::get<I>(fields_).name, true)) || ...));
      return name;
    }
    (std::make_index_sequence<kCount>());
  }
  // All of them, with these phrases between them.
  bool ReadAll(const DirectReader::Phrases& phrases) {
    return [&]<size_t... I>(std::index_sequence<I...>) {
      if constexpr (((DirectReader::kQuickBytes < M >> 0) && ...)) {
        if (in_.ReadQuickFields(phrases, &(out_->*std::get<I>(fields_).member)...)) return true;
      }
      return ((in_.TakePhrase(phrases.before[I]) && ReadField<I>()) && ...) &&
             in_.TakePhrase(phrases.suffix);
    }
    (std::make_index_sequence<kCount>());
  }

 private:
  template <size_t kIndex>
  bool ReadField() {
    auto& member = out_->*std::get<kIndex>(fields_).member;
    return Convert<std::remove_cvref_t<decltype(member)>>::ReadDirect(in_, &member);
  }

  DirectReader& in_;
  const Fields& fields_;
  T* const out_;
  PhraseLearner* const learner_;
};

// DirectReader's sink for the names and values of a dict.
template <class T, class... M>
class FieldSink {
 public:
  FieldSink(DirectReader& in, FieldReader<T, M...>* fields) : in_(in), fields_(*fields) {}
  size_t Take() {
    std::string_view name;
    if (!in_.ReadText(&name)) return 0;
    // As a rule they come in the order of the fields.
    for (size_t tried = 0; tried < kCount; ++tried) {
      const size_t index = (next_ + tried) % kCount;
      if (fields_.NameAt(index) != name) continue;
      next_ = index + 1;
      if (seen_[index]) return 0;
      seen_[index] = true;
      return fields_.Read(index) ? 1 : 0;
    }
    return in_.SkipScalar() ? 1 : 0;
  }
  bool Truncate(size_t count) const { return count == 0 && seen_.none(); }
  // All fields that a value must have are there.
  bool complete() const {
    constexpr bool kOptional[] = {kIsOptional<M>..., true};
    for (size_t i = 0; i < kCount; ++i) {
      if (!seen_[i] && !kOptional[i]) return false;
    }
    return true;
  }

 private:
  static constexpr size_t kCount = sizeof...(M);
  DirectReader& in_;
  FieldReader<T, M...>& fields_;
  size_t next_ = 0;
  std::bitset<kCount> seen_;
};

// DirectReader's sink for the values of the fields in their order.
template <class T, class... M>
class FieldListSink {
 public:
  explicit FieldListSink(FieldReader<T, M...>* fields) : fields_(*fields) {}
  size_t Take() { return next_ < sizeof...(M) && fields_.Read(next_++) ? 1 : 0; }
  bool Truncate(size_t) const { return false; }
  bool complete() const { return next_ == sizeof...(M); }

 private:
  FieldReader<T, M...>& fields_;
  size_t next_ = 0;
};

// {name: value, ...}, with all fields.
template <class T, class... M>
bool ReadFieldDict(DirectReader& in, FieldReader<T, M...>& fields) {
  FieldSink<T, M...> sink(in, &fields);
  return in.Take(Opcode::kEmptyDict) && in.Memoize() &&
         in.ReadItems(Opcode::kSetItems, Opcode::kSetItem, sink) && sink.complete();
}

// An instance of the class in one of the forms of ClassState, as protocols 3 to 5 write it.
template <class T, class... M>
bool ReadFieldInstance(DirectReader& in, std::string_view module, std::string_view name,
                       FieldReader<T, M...>& fields) {
  if (!in.ReadClass(module, name)) return false;
  FieldListSink<T, M...> list(&fields);
  if (!in.Take(Opcode::kEmptyTuple)) {
    constexpr size_t kCount = sizeof...(M);
    constexpr Opcode kEnd[] = {Opcode::kTuple1, Opcode::kTuple2, Opcode::kTuple3, Opcode::kTuple};
    if (kCount > 3 && !in.Take(Opcode::kMark)) return false;
    for (size_t i = 0; i < kCount; ++i) {
      if (list.Take() == 0) return false;
    }
    return in.Take(kEnd[std::min<size_t>(kCount, 4) - 1]) && in.Memoize() &&
           in.Take(Opcode::kNewObj) && in.Memoize();
  }
  if (!in.Take(Opcode::kNewObj) || !in.Memoize()) return false;
  switch (static_cast<Opcode>(in.Peek())) {
    case Opcode::kEmptyDict:
      return ReadFieldDict(in, fields) && in.Take(Opcode::kBuild);
    case Opcode::kNone:
      return in.Take(Opcode::kNone) && ReadFieldDict(in, fields) && in.Take(Opcode::kTuple2) &&
             in.Memoize() && in.Take(Opcode::kBuild);
    case Opcode::kEmptyList:
      return in.Take(Opcode::kEmptyList) && in.Memoize() &&
             in.ReadItems(Opcode::kAppends, Opcode::kAppend, list) && list.complete() &&
             in.Take(Opcode::kBuild);
    default:
      return false;
  }
}

// Stands for a T among DirectReader's phrases.
template <class T>
inline constexpr char kTypeTag = 0;

// Reads a T by its fields: as the one before was written, or with `read(fields)`.
template <class T, class... M, class Read>
bool ReadStructDirect(DirectReader& in, const std::tuple<ClassField<T, M>...>& fields, T* object,
                      Read read) {
  in.TakeRoot();
  DirectReader::Phrases& phrases = in.PhrasesOf(&kTypeTag<T>);
  if (phrases.known) {
    const DirectReader::State before = in.Save();
    FieldReader<T, M...> reader(in, fields, object, nullptr);
    if (reader.ReadAll(phrases)) return true;
    *object = T{};
    if (!in.Restore(before)) return false;
  }
  PhraseLearner learner(in, &phrases, sizeof...(M));
  FieldReader<T, M...> reader(in, fields, object, &learner);
  return read(reader) && learner.Done();
}

}  // namespace internal
}  // namespace pannier::codec
