// Value: what a pickle describes, without running it. A Value is a handle of 16 bytes,
// copied freely, that is valid as long as the Document it belongs to is neither destroyed
// nor cleared (docs/codec.md, "Lifetimes"). None, bool, float and integers of 64 bits lie in
// the handle; everything else lies in the Document's arena or in the stream.
//
// Identity is kept: two handles for which Is() holds are the same Python object. A graph may
// share objects and contain itself. Nothing that walks one may recurse.
//
// Values are plain data: reading them from several threads is fine while none changes the
// Document.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <iterator>
#include <span>
#include <string_view>

#include "pannier/base/bytes.h"

namespace pannier::codec {

enum class Kind : uint8_t {
  kNone,
  kBool,
  kInt,     // fits int64_t
  kBigInt,  // does not: little-endian two's complement, shortest form
  kFloat,
  kStr,  // UTF-8, except that lone surrogates stand as three bytes ("surrogatepass")
  kBytes,
  kByteArray,
  kStr8,  // Python 2's 8-bit str, where DecodeOptions::encoding asks to keep it
  kTuple,
  kList,
  kDict,        // insertion order; keys are distinct as Python compares them
  kSet,         // in the order read or added
  kFrozenSet,   // the same
  kGlobal,      // module and qualified name, never looked up
  kReduce,      // callee(*args), never called
  kNewObj,      // callee.__new__(callee, *args)
  kNewObjEx,    // callee.__new__(callee, *args, **kwargs)
  kInstance,    // Python 2's INST and OBJ: callee(*args), or made bare if args is empty
  kPersistent,  // a persistent id
  kExtension,   // a code of copyreg's extension registry
  kBuffer,      // one of the Document's out-of-band buffers, or a read-only view of it
  kHandle,      // a number that a Visitor gave instead of a Value (visitor.h); nowhere else
};
inline constexpr size_t kKindCount = static_cast<size_t>(Kind::kHandle) + 1;

// "int", "dict", "global", ...: for messages.
std::string_view KindName(Kind kind);

class Document;
struct DictEntry;
class Part;
class PartRange;

namespace internal {
struct LongText;
struct TupleNode;
struct ListNode;
struct KeyedNode;
struct ObjectNode;
struct PartNode;
}  // namespace internal

class Value {
 public:
  constexpr Value() = default;  // None
  static constexpr Value None() { return Value(); }
  static constexpr Value Bool(bool b) { return Value(Kind::kBool, 0, b ? 1 : 0); }
  static constexpr Value Int(int64_t i) { return Value(Kind::kInt, 0, static_cast<uint64_t>(i)); }
  static Value Float(double f) {
    uint64_t bits;
    std::memcpy(&bits, &f, sizeof(bits));
    return Value(Kind::kFloat, 0, bits);
  }

  static constexpr Value Handle(uint64_t number) { return Value(Kind::kHandle, 0, number); }

  Kind kind() const { return static_cast<Kind>(meta_ & 0xff); }
  bool is(Kind k) const { return kind() == k; }
  bool is_none() const { return is(Kind::kNone); }
  // Reduce, NewObj, NewObjEx, Instance, Global, Persistent, Extension, Buffer: what it is
  // can be told only by running Python. Those of them that have parts() are objects.
  bool is_symbolic() const { return kind() >= Kind::kGlobal && kind() <= Kind::kBuffer; }
  // True for the symbolic kinds but Buffer: callee(), args() and parts() may be asked.
  bool is_object() const { return kind() >= Kind::kGlobal && kind() <= Kind::kExtension; }

  // The accessors below state the kinds that they are for; another kind is a bug of the
  // caller and the result is unspecified (memory is not touched wrongly only if the kind
  // is right: check first).

  bool bool_value() const { return payload_ != 0; }                     // Bool
  int64_t int_value() const { return static_cast<int64_t>(payload_); }  // Int
  double float_value() const {                                          // Float
    double f;
    std::memcpy(&f, &payload_, sizeof(f));
    return f;
  }
  // Str, Bytes, ByteArray, Str8, and the digits of BigInt.
  std::string_view text() const;
  ByteSpan bytes() const { return AsBytes(text()); }

  // Tuple, List, Set, FrozenSet: the elements. Valid until the container is changed.
  std::span<const Value> items() const;
  // Dict: its entries. Valid until the dict is changed.
  std::span<const DictEntry> entries() const;
  // Tuple, List, Set, FrozenSet, Dict: number of elements or entries.
  size_t size() const;
  // Dict: the value of an equal key, as Python compares keys; null if there is none.
  const Value* Find(const Value& key) const;
  // Dict: the value of a str key; null if there is none.
  const Value* Find(std::string_view str_key) const;

  // Global. Both are Str values; module_name() and global_name() are their texts.
  Value module() const;
  Value name() const;
  std::string_view module_name() const { return module().text(); }
  std::string_view global_name() const { return name().text(); }
  // True if this is the Global of exactly this module and qualified name.
  bool IsGlobal(std::string_view module, std::string_view name) const;

  // Reduce, NewObj, NewObjEx, Instance: the callable or class. Any symbolic value, as a rule
  // a Global.
  Value callee() const;
  // The same: the argument tuple. Of kind Tuple, or symbolic where a stream computes it.
  Value args() const;
  // NewObjEx: a Dict, or symbolic.
  Value kwargs() const;
  // Persistent: the id. A Str if it came from PERSID, any value from BINPERSID.
  Value persistent_id() const;
  // Extension: the code, 1 to 2^31-1.
  uint32_t extension_code() const;
  // Objects: what was done to the object after it was made, in that order.
  PartRange parts() const;
  // Objects: the state given to BUILD, or to a state setter; the last one if there were
  // several; null if none.
  const Value* state() const;

  // Buffer: the index among the Document's buffers; Document::buffer() gives the bytes.
  size_t buffer_index() const { return static_cast<size_t>(payload_); }
  // Buffer: true for a view made by READONLY_BUFFER. The buffer itself may be read-only too.
  bool buffer_readonly_view() const { return flag() != 0; }

  // The number of the object within its Document, which stands for its identity in the
  // encoder's memo; 0 for values that have none (None, numbers, the empty tuple, and strings
  // that the stream never memoised or duplicated).
  uint32_t id() const { return id_; }

  // Handle: the number.
  uint64_t handle() const { return payload_; }

  // Python's `is`, as far as a pickle can tell: same object, or same kind and bits.
  friend bool Is(const Value& a, const Value& b) {
    return a.meta_ == b.meta_ && a.payload_ == b.payload_;
  }

 private:
  friend class Document;
  friend struct ValueAccess;
  // Texts shorter than this keep their length in the handle.
  static constexpr uint32_t kLongText = (1u << 24) - 1;

  constexpr Value(Kind kind, uint32_t extra, uint64_t payload, uint32_t id = 0)
      : meta_(static_cast<uint32_t>(kind) | extra << 8), id_(id), payload_(payload) {}
  uint32_t flag() const { return meta_ >> 8; }
  template <typename T>
  T* node() const {
    return reinterpret_cast<T*>(static_cast<uintptr_t>(payload_));
  }

  uint32_t meta_ = 0;  // the kind; above it a text's length, or a flag
  uint32_t id_ = 0;
  uint64_t payload_ = 0;  // the scalar, or the address of the text or node
};
static_assert(sizeof(Value) == 16);

struct DictEntry {
  Value key;
  Value value;
};

// What a stream does to an object after making it. Neighbours of one kind are one part.
enum class PartKind : uint8_t {
  kState,    // BUILD; one value
  kAppend,   // APPEND(S); the elements
  kSetItem,  // SETITEM(S); key, value, key, value, ...
  kAdd,      // ADDITEMS; the elements
  kSetter,   // setter(object, state), result dropped; two values: setter, state
};

class Part {
 public:
  PartKind kind() const;
  std::span<const Value> values() const;

 private:
  friend class PartRange;
  explicit Part(const internal::PartNode* node) : node_(node) {}
  const internal::PartNode* node_;
};

class PartRange {
 public:
  class Iterator {
   public:
    using value_type = Part;
    using difference_type = std::ptrdiff_t;
    explicit Iterator(const internal::PartNode* node) : node_(node) {}
    Part operator*() const { return Part(node_); }
    Iterator& operator++();
    friend bool operator==(Iterator a, Iterator b) { return a.node_ == b.node_; }

   private:
    const internal::PartNode* node_;
  };
  explicit PartRange(const internal::PartNode* first) : first_(first) {}
  Iterator begin() const { return Iterator(first_); }
  Iterator end() const { return Iterator(nullptr); }
  bool empty() const { return first_ == nullptr; }

 private:
  const internal::PartNode* first_;
};

}  // namespace pannier::codec

#include "pannier/codec/node.h"  // the inline bodies
