// Python's collections that differ from its list, dict and set. The plain containers read them
// too; these wrappers keep what they have and say what is written.
//
//   C++                         Python
//   OrderedDict<K, V>           collections.OrderedDict; reads any dict, in its order
//   DefaultDict<M>              collections.defaultdict
//   Counter<K>                  collections.Counter
//   std::deque, Deque<T>        collections.deque; the second keeps maxlen
//   FrozenSet<S>                frozenset
//   PythonArray<T>              array.array
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "pannier/codec/convert.h"
#include "pannier/codec/convert_container.h"
#include "pannier/codec/convert_shapes.h"

namespace pannier::codec {

// The entries in order; of equal keys the last one counts when Python loads them.
template <class K, class V>
struct OrderedDict {
  std::vector<std::pair<K, V>> items;
  friend bool operator==(const OrderedDict&, const OrderedDict&) = default;
};

// A global of Python: what makes the missing values of a defaultdict.
struct GlobalName {
  std::string module;
  std::string name;
  friend bool operator==(const GlobalName&, const GlobalName&) = default;
};

// M: a map.
template <class M>
struct DefaultDict {
  M map;
  std::optional<GlobalName> factory;  // {"builtins", "int"}; none: None
  friend bool operator==(const DefaultDict&, const DefaultDict&) = default;
};

template <class K>
struct Counter {
  std::map<K, int64_t> counts;
  friend bool operator==(const Counter&, const Counter&) = default;
};

template <class T>
struct Deque {
  std::deque<T> items;
  std::optional<uint64_t> maxlen;
  friend bool operator==(const Deque&, const Deque&) = default;
};

template <class S>
struct FrozenSet {
  S items;
  friend bool operator==(const FrozenSet&, const FrozenSet&) = default;
};

// T: an integer, float or double.
template <class T>
struct PythonArray {
  std::vector<T> items;
  friend bool operator==(const PythonArray&, const PythonArray&) = default;
};

namespace internal {

// The factory of collections.defaultdict(factory), and the maxlen of a deque.
StatusOr<std::optional<GlobalName>> FactoryFrom(const Value& value, const Place& place);
StatusOr<std::optional<uint64_t>> MaxlenFrom(const Value& value, const Place& place);
Value DefaultDictTo(const std::optional<GlobalName>& factory, std::span<const Value> pairs,
                    Builder& builder);
Value DequeTo(const std::optional<uint64_t>& maxlen, std::span<const Value> items,
              Builder& builder);
Value OrderedDictTo(std::span<const Value> pairs, Builder& builder);
// The letter of array.array, which has one for each type of C.
template <class T>
constexpr char ArrayLetter() {
  if constexpr (std::is_floating_point_v<T>) {
    return sizeof(T) == 4 ? 'f' : 'd';
  } else {
    const char letter = sizeof(T) == 1                                ? 'b'
                        : sizeof(T) == 2                              ? 'h'
                        : sizeof(T) == 4                              ? 'i'
                        : std::is_same_v<std::make_signed_t<T>, long> ? 'l'
                                                                      : 'q';
    return std::is_signed_v<T> ? letter : static_cast<char>(letter - 'a' + 'A');
  }
}
Value ArrayModuleTo(char letter, DType dtype, ByteSpan bytes, std::span<const Value> items,
                    Builder& builder);
bool IsCollection(const Value& value, std::string_view name);
bool IsArrayModule(const Value& value);

template <class C>
std::vector<Value> ValuesOf(const C& container, Builder& builder) {
  std::vector<Value> values;
  values.reserve(container.size());
  for (const auto& item : container) values.push_back(codec::To(item, builder));
  return values;
}
template <class C>
std::vector<Value> PairsOf(const C& container, Builder& builder) {
  std::vector<Value> values;
  values.reserve(2 * container.size());
  for (const auto& [key, value] : container) {
    values.push_back(codec::To(key, builder));
    values.push_back(codec::To(value, builder));
  }
  return values;
}

}  // namespace internal

template <class K, class V>
struct Convert<OrderedDict<K, V>> {
  static constexpr bool kBorrows = kBorrowsDocument<K> || kBorrowsDocument<V>;
  static std::string Name() { return "OrderedDict of " + NameOf<K>() + " to " + NameOf<V>(); }
  static StatusOr<OrderedDict<K, V>> From(const Value& value, const Place& place) {
    const auto entries = DictEntries(value);
    if (!entries) return place.Expected(Name(), value);
    PANNIER_RETURN_IF_ERROR(place.Charge(entries->size() * sizeof(std::pair<K, V>)));
    OrderedDict<K, V> dict;
    dict.items.reserve(entries->size());
    for (const DictEntry& entry : *entries) {
      PANNIER_ASSIGN_OR_RETURN(K key, codec::From<K>(entry.key, place.KeyItself(entry.key)));
      PANNIER_ASSIGN_OR_RETURN(V mapped, codec::From<V>(entry.value, place.Key(entry.key)));
      dict.items.emplace_back(std::move(key), std::move(mapped));
    }
    return dict;
  }
  static Value To(const OrderedDict<K, V>& dict, Builder& builder) {
    return internal::OrderedDictTo(internal::PairsOf(dict.items, builder), builder);
  }
};

template <class M>
struct Convert<DefaultDict<M>> {
  static constexpr bool kBorrows = kBorrowsDocument<M>;
  static std::string Name() { return "default" + NameOf<M>(); }
  static StatusOr<DefaultDict<M>> From(const Value& value, const Place& place) {
    if (!internal::IsCollection(value, "defaultdict")) return place.Expected(Name(), value);
    DefaultDict<M> dict;
    PANNIER_ASSIGN_OR_RETURN(dict.factory, internal::FactoryFrom(value, place));
    PANNIER_ASSIGN_OR_RETURN(dict.map, codec::From<M>(value, place));
    return dict;
  }
  static Value To(const DefaultDict<M>& dict, Builder& builder) {
    return internal::DefaultDictTo(dict.factory, internal::PairsOf(dict.map, builder), builder);
  }
};

template <class K>
struct Convert<Counter<K>> {
  using Counts = std::map<K, int64_t>;
  static constexpr bool kBorrows = kBorrowsDocument<K>;
  static std::string Name() { return "Counter of " + NameOf<K>(); }
  static StatusOr<Counter<K>> From(const Value& value, const Place& place) {
    if (!internal::IsCollection(value, "Counter")) return place.Expected(Name(), value);
    PANNIER_ASSIGN_OR_RETURN(Counts counts, codec::From<Counts>(value, place));
    return Counter<K>{std::move(counts)};
  }
  static Value To(const Counter<K>& counter, Builder& builder) {
    Document& document = builder.document();
    return document.NewReduce(document.NewGlobal("collections", "Counter"),
                              {codec::To(counter.counts, builder)});
  }
};

template <class T>
struct Convert<Deque<T>> {
  static constexpr bool kBorrows = kBorrowsDocument<T>;
  static std::string Name() { return "deque of " + NameOf<T>(); }
  static StatusOr<Deque<T>> From(const Value& value, const Place& place) {
    if (!internal::IsCollection(value, "deque")) return place.Expected(Name(), value);
    Deque<T> deque;
    PANNIER_ASSIGN_OR_RETURN(deque.maxlen, internal::MaxlenFrom(value, place));
    PANNIER_ASSIGN_OR_RETURN(deque.items, codec::From<std::deque<T>>(value, place));
    return deque;
  }
  static Value To(const Deque<T>& deque, Builder& builder) {
    if (deque.maxlen && deque.items.size() > *deque.maxlen) {
      return builder.Fail("the Deque holds more than its maxlen");
    }
    return internal::DequeTo(deque.maxlen, internal::ValuesOf(deque.items, builder), builder);
  }
};

// Reads lists and tuples too.
template <class T, class Allocator>
struct Convert<std::deque<T, Allocator>> {
  static constexpr bool kBorrows = kBorrowsDocument<T>;
  static std::string Name() { return "deque of " + NameOf<T>(); }
  static StatusOr<std::deque<T, Allocator>> From(const Value& value, const Place& place) {
    const auto items = SequenceItems(value);
    if (!items) return place.Expected(Name(), value);
    PANNIER_RETURN_IF_ERROR(place.Charge(items->size() * sizeof(T)));
    std::deque<T, Allocator> deque;
    for (size_t i = 0; i < items->size(); ++i) {
      PANNIER_ASSIGN_OR_RETURN(T item, codec::From<T>((*items)[i], place.Item(i)));
      deque.push_back(std::move(item));
    }
    return deque;
  }
  static Value To(const std::deque<T, Allocator>& deque, Builder& builder) {
    return internal::DequeTo(std::nullopt, internal::ValuesOf(deque, builder), builder);
  }
};

// Reads what S reads: no sender means anything by a set that does not change.
template <class S>
struct Convert<FrozenSet<S>> {
  static constexpr bool kBorrows = kBorrowsDocument<S>;
  static std::string Name() { return "frozen" + NameOf<S>(); }
  static StatusOr<FrozenSet<S>> From(const Value& value, const Place& place) {
    PANNIER_ASSIGN_OR_RETURN(S items, codec::From<S>(value, place));
    return FrozenSet<S>{std::move(items)};
  }
  static Value To(const FrozenSet<S>& set, Builder& builder) {
    StatusOr<Value> value = builder.document().NewFrozenSet(internal::ValuesOf(set.items, builder));
    return value.ok() ? *value : builder.Fail(value.status());
  }
};

template <class T>
struct Convert<PythonArray<T>> {
  static_assert(internal::kIsNumberInteger<T> || std::is_same_v<T, float> ||
                    std::is_same_v<T, double>,
                "array.array has elements of integers, float and double alone");
  static std::string Name() { return "array.array of " + NameOf<T>(); }
  static StatusOr<PythonArray<T>> From(const Value& value, const Place& place) {
    if (!internal::IsArrayModule(value)) return place.Expected(Name(), value);
    PANNIER_ASSIGN_OR_RETURN(std::vector<T> items, codec::From<std::vector<T>>(value, place));
    return PythonArray<T>{std::move(items)};
  }
  static Value To(const PythonArray<T>& array, Builder& builder) {
    std::vector<Value> items;
    if (builder.protocol() < 3) items = internal::ValuesOf(array.items, builder);
    return internal::ArrayModuleTo(internal::ArrayLetter<T>(), DTypeFor<T>(),
                                   std::as_bytes(std::span(array.items)), items, builder);
  }
};

}  // namespace pannier::codec
