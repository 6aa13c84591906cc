// Containers, of whatever has a mapping itself.
//
//   C++                                     from Python
//   std::optional                           None, or what the element takes
//   std::variant                            what the first alternative takes that takes it
//   std::tuple, std::pair, std::array       tuple or list of that length
//   std::vector                             list, tuple, deque; of numbers also a
//                                           one-dimensional array of exactly that dtype
//   std::map, std::unordered_map,           dict, OrderedDict, defaultdict, Counter
//     absl::flat_hash_map and their like
//   std::set, std::unordered_set, ...       set, frozenset
//
// To Python: tuples and pairs are tuples; arrays and vectors lists; maps dicts, in the order in
// which they are walked; sets sets. Any type with the interface of a map or set is one.
#pragma once

#include <algorithm>
#include <array>
#include <concepts>
#include <cstddef>
#include <optional>
#include <span>
#include <string>
#include <tuple>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

#include "pannier/codec/array.h"
#include "pannier/codec/convert.h"
#include "pannier/codec/convert_array.h"
#include "pannier/codec/convert_direct.h"
#include "pannier/codec/convert_shapes.h"
#include "pannier/codec/convert_sinks.h"

namespace pannier::codec {

namespace internal {

Status CheckLength(const std::optional<std::span<const Value>>& items, size_t length,
                   const Value& value, const Place& place);
Status CheckRankOne(const AnyArray& array, const Place& place);

// "A, B or C" for the separator " or ".
template <class... T>
std::string NamesOf(const char* last_separator) {
  std::string names;
  size_t left = sizeof...(T);
  const auto add = [&](const std::string& name) {
    --left;
    names += name;
    if (left > 0) names += left > 1 ? ", " : last_separator;
  };
  (..., add(NameOf<T>()));
  return names;
}

// Python's list of what `container` walks over.
template <class C>
Value ListOf(const C& container, Builder& builder) {
  std::vector<Value> items;
  items.reserve(container.size());
  for (const auto& item : container) items.push_back(codec::To(item, builder));
  return builder.document().NewList(items);
}

template <class Tuple, size_t... I>
Value TupleOf(const Tuple& tuple, Builder& builder, std::index_sequence<I...>) {
  // Braces keep the order of evaluation.
  const std::array<Value, sizeof...(I)> items{codec::To(std::get<I>(tuple), builder)...};
  return builder.document().NewTuple(std::span<const Value>(items.data(), items.size()));
}

template <class Tuple, size_t... I>
StatusOr<Tuple> TupleFrom([[maybe_unused]] std::span<const Value> items,
                          [[maybe_unused]] const Place& place, std::index_sequence<I...>) {
  std::tuple<StatusOr<std::tuple_element_t<I, Tuple>>...> parts{
      codec::From<std::tuple_element_t<I, Tuple>>(items[I], place.Item(I))...};
  Status status;
  (..., (status = status.ok() ? std::get<I>(parts).status() : status));
  if (!status.ok()) return status;
  return Tuple(*std::move(std::get<I>(parts))...);
}

// A tuple of exactly these.
template <class... T>
bool ReadTupleDirect(DirectReader& in, T&... items) {
  constexpr size_t kSize = sizeof...(T);
  in.TakeRoot();
  if (kSize == 0) return in.Take(Opcode::kEmptyTuple);
  constexpr Opcode kEnds[] = {Opcode::kTuple1, Opcode::kTuple2, Opcode::kTuple3, Opcode::kTuple};
  constexpr Opcode kEnd = kEnds[std::clamp<size_t>(kSize, 1, 4) - 1];
  if constexpr (kSize <= 3 && ((DirectReader::kQuickBytes < T >> 0) && ...)) {
    if (in.ReadQuickTuple(kEnd, &items...)) return true;
  }
  if (kSize > 3 && !in.Take(Opcode::kMark)) return false;
  return (Convert<T>::ReadDirect(in, &items) && ...) && in.Take(kEnd) && in.Memoize();
}

template <class M>
concept MapLike = requires(M map, typename M::key_type key, typename M::mapped_type value) {
  map.insert_or_assign(map.end(), std::move(key), std::move(value));
  map.begin()->second;
  map.size();
};

template <class S>
concept SetLike = requires(S set, typename S::key_type key) {
  requires std::same_as<typename S::key_type, typename S::value_type>;
  set.insert(std::move(key));
  set.find(key);
  set.size();
};

}  // namespace internal

template <class T>
struct Convert<std::optional<T>> {
  static constexpr bool kBorrows = kBorrowsDocument<T>;
  static constexpr bool kDirect = kReadsDirectly<T>;
  static std::string Name() { return NameOf<T>() + " or None"; }
  static bool ReadDirect(DirectReader& in, std::optional<T>* object) {
    object->reset();  // a struct's field may have had a default
    return in.Take(Opcode::kNone) || Convert<T>::ReadDirect(in, &object->emplace());
  }
  static StatusOr<std::optional<T>> From(const Value& value, const Place& place) {
    if (value.is_none()) return std::optional<T>();
    PANNIER_ASSIGN_OR_RETURN(T object, codec::From<T>(value, place));
    return std::optional<T>(std::move(object));
  }
  static Value To(const std::optional<T>& object, Builder& builder) {
    return object ? codec::To(*object, builder) : Value::None();
  }
};

template <class... T>
struct Convert<std::variant<T...>> {
  static constexpr bool kBorrows = (kBorrowsDocument<T> || ...);
  static std::string Name() { return internal::NamesOf<T...>(" or "); }
  static StatusOr<std::variant<T...>> From(const Value& value, const Place& place) {
    const Place quiet = place.Quiet();
    std::optional<StatusOr<std::variant<T...>>> result;
    Try(value, quiet, &result, std::index_sequence_for<T...>());
    if (!result) return place.Expected(Name(), value);
    return *std::move(result);
  }
  static Value To(const std::variant<T...>& object, Builder& builder) {
    return std::visit([&](const auto& held) { return codec::To(held, builder); }, object);
  }

 private:
  using Result = std::optional<StatusOr<std::variant<T...>>>;

  template <size_t... I>
  static void Try(const Value& value, const Place& place, Result* result,
                  std::index_sequence<I...>) {
    static_cast<void>((... || TryOne<I>(value, place, result)));
  }
  template <size_t kIndex>
  static bool TryOne(const Value& value, const Place& place, Result* result) {
    using U = std::variant_alternative_t<kIndex, std::variant<T...>>;
    StatusOr<U> object = codec::From<U>(value, place);
    // A limit that was reached is no misfit: the next alternative would begin anew.
    if (object.ok()) {
      result->emplace(std::variant<T...>(std::in_place_index<kIndex>, *std::move(object)));
    } else if (object.status().code() == absl::StatusCode::kResourceExhausted) {
      result->emplace(object.status());
    }
    return result->has_value();
  }
};

template <class... T>
struct Convert<std::tuple<T...>> {
  static constexpr bool kBorrows = (kBorrowsDocument<T> || ...);
  static constexpr bool kDirect = (kReadsDirectly<T> && ...);
  static std::string Name() { return "tuple of (" + internal::NamesOf<T...>(", ") + ")"; }
  static bool ReadDirect(DirectReader& in, std::tuple<T...>* tuple) {
    return std::apply([&](T&... items) { return internal::ReadTupleDirect(in, items...); }, *tuple);
  }
  static StatusOr<std::tuple<T...>> From(const Value& value, const Place& place) {
    const auto items = SequenceItems(value);
    PANNIER_RETURN_IF_ERROR(internal::CheckLength(items, sizeof...(T), value, place));
    return internal::TupleFrom<std::tuple<T...>>(*items, place, std::index_sequence_for<T...>());
  }
  static Value To(const std::tuple<T...>& tuple, Builder& builder) {
    return internal::TupleOf(tuple, builder, std::index_sequence_for<T...>());
  }
};

template <class A, class B>
struct Convert<std::pair<A, B>> {
  static constexpr bool kBorrows = kBorrowsDocument<A> || kBorrowsDocument<B>;
  static constexpr bool kDirect = kReadsDirectly<A> && kReadsDirectly<B>;
  static std::string Name() { return NameOf<std::tuple<A, B>>(); }
  static bool ReadDirect(DirectReader& in, std::pair<A, B>* pair) {
    return internal::ReadTupleDirect(in, pair->first, pair->second);
  }
  static StatusOr<std::pair<A, B>> From(const Value& value, const Place& place) {
    const auto items = SequenceItems(value);
    PANNIER_RETURN_IF_ERROR(internal::CheckLength(items, 2, value, place));
    return internal::TupleFrom<std::pair<A, B>>(*items, place, std::index_sequence_for<A, B>());
  }
  static Value To(const std::pair<A, B>& pair, Builder& builder) {
    return internal::TupleOf(pair, builder, std::index_sequence_for<A, B>());
  }
};

template <class T, size_t kSize>
struct Convert<std::array<T, kSize>> {
  static constexpr bool kBorrows = kBorrowsDocument<T>;
  static constexpr bool kDirect = kReadsDirectly<T>;
  static std::string Name() { return "list of " + std::to_string(kSize) + " " + NameOf<T>(); }
  static bool ReadDirect(DirectReader& in, std::array<T, kSize>* array) {
    in.TakeRoot();
    internal::ArraySink<T> sink(in, *array);
    return in.Take(Opcode::kEmptyList) && in.Memoize() &&
           in.ReadItems(Opcode::kAppends, Opcode::kAppend, sink) && sink.full();
  }
  static StatusOr<std::array<T, kSize>> From(const Value& value, const Place& place) {
    const auto items = SequenceItems(value);
    PANNIER_RETURN_IF_ERROR(internal::CheckLength(items, kSize, value, place));
    std::array<T, kSize> array{};
    for (size_t i = 0; i < kSize; ++i) {
      PANNIER_ASSIGN_OR_RETURN(array[i], codec::From<T>((*items)[i], place.Item(i)));
    }
    return array;
  }
  static Value To(const std::array<T, kSize>& array, Builder& builder) {
    return internal::ListOf(array, builder);
  }
};

template <class T, class Allocator>
struct Convert<std::vector<T, Allocator>> {
  using Vector = std::vector<T, Allocator>;
  static constexpr bool kBorrows = kBorrowsDocument<T>;
  static constexpr bool kDirect = kReadsDirectly<T>;
  static std::string Name() { return "list of " + NameOf<T>(); }
  static bool ReadDirect(DirectReader& in, Vector* vector) {
    internal::VectorSink<Vector> sink(in, vector);
    return in.Take(Opcode::kEmptyList) && in.Memoize() &&
           in.ReadItems(Opcode::kAppends, Opcode::kAppend, sink);
  }
  static StatusOr<Vector> From(const Value& value, const Place& place) {
    const auto items = SequenceItems(value);
    if (!items) {
      if constexpr (ArrayElement<T>) {
        if (LooksLikeArray(value)) return FromArray(value, place);
      }
      return place.Expected(Name(), value);
    }
    PANNIER_RETURN_IF_ERROR(place.Charge(items->size() * sizeof(T)));
    Vector vector;
    vector.reserve(items->size());
    for (size_t i = 0; i < items->size(); ++i) {
      if constexpr (HasPlainForm<T>) {
        if (const std::optional<T> plain = Convert<T>::FromPlain((*items)[i])) {
          vector.push_back(*plain);
          continue;
        }
      }
      StatusOr<T> item = codec::From<T>((*items)[i], place.Item(i));
      if (!item.ok()) return std::move(item).status();
      vector.push_back(*std::move(item));
    }
    return vector;
  }
  static Value To(const Vector& vector, Builder& builder) {
    return internal::ListOf(vector, builder);
  }

 private:
  static StatusOr<Vector> FromArray(const Value& value, const Place& place) {
    PANNIER_ASSIGN_OR_RETURN(const ArrayView<const T> view,
                             codec::From<ArrayView<const T>>(value, place));
    PANNIER_RETURN_IF_ERROR(internal::CheckRankOne(view.any(), place));
    PANNIER_RETURN_IF_ERROR(place.Charge(view.size() * sizeof(T)));
    Vector vector(view.size());
    for (size_t i = 0; i < view.size(); ++i) vector[i] = view(i);
    return vector;
  }
};

template <internal::MapLike M>
struct Convert<M> {
  using Key = typename M::key_type;
  using Mapped = typename M::mapped_type;
  static constexpr bool kBorrows = kBorrowsDocument<Key> || kBorrowsDocument<Mapped>;
  static constexpr bool kDirect = internal::MapSink<M>::kHasKey && kReadsDirectly<Mapped>;
  static std::string Name() { return "dict of " + NameOf<Key>() + " to " + NameOf<Mapped>(); }
  static bool ReadDirect(DirectReader& in, M* map) {
    internal::MapSink<M> sink(in, map);
    return in.Take(Opcode::kEmptyDict) && in.Memoize() &&
           in.ReadItems(Opcode::kSetItems, Opcode::kSetItem, sink);
  }
  static StatusOr<M> From(const Value& value, const Place& place) {
    const auto entries = DictEntries(value);
    if (!entries) return place.Expected(Name(), value);
    PANNIER_RETURN_IF_ERROR(place.Charge(entries->size() * sizeof(typename M::value_type)));
    M map;
    for (const DictEntry& entry : *entries) {
      PANNIER_ASSIGN_OR_RETURN(Key key, codec::From<Key>(entry.key, place.KeyItself(entry.key)));
      PANNIER_ASSIGN_OR_RETURN(Mapped mapped,
                               codec::From<Mapped>(entry.value, place.Key(entry.key)));
      // Written by a map, the keys come in its order.
      map.insert_or_assign(map.end(), std::move(key), std::move(mapped));
    }
    return map;
  }
  static Value To(const M& map, Builder& builder) {
    Document& document = builder.document();
    const Value dict = document.NewDict();
    for (const auto& [key, mapped] : map) {
      const Value key_value = codec::To(key, builder);
      const Status status = document.SetItem(dict, key_value, codec::To(mapped, builder));
      if (!status.ok()) return builder.Fail(status);
    }
    return dict;
  }
};

template <internal::SetLike S>
struct Convert<S> {
  using Key = typename S::key_type;
  static constexpr bool kBorrows = kBorrowsDocument<Key>;
  static constexpr bool kDirect =
      std::is_same_v<Key, std::string> || internal::kIsNumberInteger<Key>;
  static std::string Name() { return "set of " + NameOf<Key>(); }
  static bool ReadDirect(DirectReader& in, S* set) {
    internal::SetSink<S> sink(in, set);
    return in.Take(Opcode::kEmptySet) && in.Memoize() &&
           in.ReadItems(Opcode::kAddItems, Opcode::kStop, sink);
  }
  static StatusOr<S> From(const Value& value, const Place& place) {
    const auto items = SetItems(value);
    if (!items) return place.Expected(Name(), value);
    PANNIER_RETURN_IF_ERROR(place.Charge(items->size() * sizeof(Key)));
    S set;
    for (const Value& item : *items) {
      PANNIER_ASSIGN_OR_RETURN(Key key, codec::From<Key>(item, place.KeyItself(item)));
      set.insert(std::move(key));
    }
    return set;
  }
  static Value To(const S& set, Builder& builder) {
    Document& document = builder.document();
    const Value value = document.NewSet();
    for (const auto& item : set) {
      const Status status = document.AddItem(value, codec::To(item, builder));
      if (!status.ok()) return builder.Fail(status);
    }
    return value;
  }
};

}  // namespace pannier::codec
