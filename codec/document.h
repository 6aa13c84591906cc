// Document: a graph of Values and all that it stands on: the arena with its nodes, the
// out-of-band buffers it refers to, and, if asked, the stream that its texts lie in. Made by
// the decoder, or by hand with the New... functions.
//
// Lifetimes. Values die with the Document, or at Clear(). Texts of a decoded Document are
// borrowed from the stream wherever they stand there literally: the stream must outlive the
// Document, unless it was given to Hold() (DecodeOptions::stream_owner does that).
//
// A container takes only Values of its own Document, and None, Bool, Int and Float, which
// belong to none. CopyFrom() brings others in.
//
// Movable; a moved Document keeps its Values valid. Thread-compatible: any number of readers,
// or one writer.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <memory>
#include <span>
#include <string_view>
#include <typeinfo>
#include <utility>
#include <vector>

#include "pannier/base/buffer.h"
#include "pannier/base/status.h"
#include "pannier/codec/arena.h"
#include "pannier/codec/value.h"

namespace pannier::codec {

namespace internal {
class Copier;
class Machine;
}  // namespace internal

class Document {
 public:
  Document();
  ~Document();
  Document(Document&&) noexcept;
  Document& operator=(Document&&) noexcept;

  // What the stream describes; None before it is set.
  const Value& root() const { return root_; }
  void set_root(const Value& value) { root_ = value; }

  // The buffers that Buffer values index, in the order in which the stream takes them.
  std::span<const Buffer> buffers() const { return buffers_; }
  // The bytes of a Buffer value, read-only if either the buffer or the view is.
  // REQUIRES: value.is(Kind::kBuffer), of this Document.
  Buffer buffer(const Value& value) const;

  // Keeps the bytes of `owner` alive as long as this Document, or until Clear().
  void Hold(Buffer owner) { held_.push_back(std::move(owner)); }

  // Forgets all values, buffers and what is held; keeps memory for the next use.
  void Clear();
  // Bytes of arena held; what Clear() keeps.
  size_t capacity() const { return arena_.capacity(); }
  // Gives that memory back too.
  void Release();

  // ---- Making values. -------------------------------------------------------------------
  // Each New... makes a new object, with an identity of its own: putting the handle in two
  // places shares it, and a pickle of it says so.

  // `utf8` is copied. Lone surrogates may stand in it as three bytes each; that it is UTF-8
  // otherwise is checked by the encoder, not here.
  Value NewStr(std::string_view utf8);
  // The bytes are not copied and must outlive the Document.
  Value NewStrView(std::string_view utf8);
  // One object for equal texts, as Python interns names: used for keys and attribute names.
  Value InternStr(std::string_view utf8);
  Value NewBytes(ByteSpan bytes);      // copied
  Value NewBytesView(ByteSpan bytes);  // not copied; must outlive the Document
  Value NewByteArray(ByteSpan bytes);  // copied
  Value NewByteArrayView(ByteSpan bytes);
  Value NewStr8(std::string_view bytes);  // copied
  // An integer of any size from little-endian two's complement; Int if it fits.
  Value NewInteger(ByteSpan little_endian);
  Value NewUnsigned(uint64_t value);

  Value NewTuple(std::span<const Value> items);
  Value NewTuple(std::initializer_list<Value> items) {
    return NewTuple(std::span<const Value>(items.begin(), items.size()));
  }
  Value NewList(std::span<const Value> items = {});
  Value NewDict();
  Value NewSet();
  // Errors: InvalidArgument, if an item is unhashable.
  StatusOr<Value> NewFrozenSet(std::span<const Value> items);

  // Module and name texts are interned. Equal Globals are one object.
  Value NewGlobal(std::string_view module, std::string_view qualified_name);
  Value NewReduce(const Value& callee, const Value& args);
  Value NewReduce(const Value& callee, std::initializer_list<Value> args) {
    return NewReduce(callee, NewTuple(args));
  }
  Value NewObject(const Value& cls, const Value& args);  // NEWOBJ
  Value NewObjectEx(const Value& cls, const Value& args, const Value& kwargs);
  Value NewInstance(const Value& cls, const Value& args);
  // Persistent ids and extension codes are written anew at each place, as Python does, unless
  // something is done to them (AddState and so on).
  Value NewPersistent(const Value& id);
  Value NewExtension(uint32_t code);
  // Adds `buffer` to buffers(). The encoder offers it out of band.
  Value NewBuffer(Buffer buffer);

  // ---- Filling them. --------------------------------------------------------------------

  // REQUIRES: list.is(Kind::kList).
  void Append(const Value& list, const Value& item);
  void Extend(const Value& list, std::span<const Value> items);
  // REQUIRES: dict.is(Kind::kDict). An equal key keeps its place and first form and takes
  // the new value. Errors: InvalidArgument, if the key is unhashable.
  Status SetItem(const Value& dict, const Value& key, const Value& value);
  // The same with an interned str key; cannot fail.
  void SetItem(const Value& dict, std::string_view key, const Value& value);
  // REQUIRES: set.is(Kind::kSet). Errors: InvalidArgument, if the item is unhashable.
  Status AddItem(const Value& set, const Value& item);

  // What is done to an object after it was made. REQUIRES: object.is_object().
  void AddState(const Value& object, const Value& state);  // BUILD
  void AddSetter(const Value& object, const Value& setter, const Value& state);
  void AddAppends(const Value& object, std::span<const Value> items);
  // Key, value, key, value, ... REQUIRES: an even number.
  void AddSetItems(const Value& object, std::span<const Value> pairs);
  void AddAdds(const Value& object, std::span<const Value> items);

  // ---- C++ objects that values stand for. -----------------------------------------------

  // Keeps `object` beside `value` until Clear(), in place of what was kept there before. The
  // value itself does not change: it is shown, compared and written as ever. ClassRegistry does
  // this while a stream is decoded; CopyFrom() does not bring it along.
  // REQUIRES: value.id() != 0.
  template <class T>
  void Attach(const Value& value, std::shared_ptr<T> object) {
    AttachObject(value, std::move(object), typeid(T));
  }
  // What was attached as a T; null if there is none, or one of another type.
  template <class T>
  std::shared_ptr<T> Attached(const Value& value) const {
    return std::static_pointer_cast<T>(AttachedObject(value, typeid(T)));
  }

  // A copy of `value` and of all it reaches, which belong to `source`. Sharing and cycles are
  // kept, texts are copied, buffers are shared. Not recursive.
  Value CopyFrom(const Document& source, const Value& value);

  // The Global of this name that the Document holds already; null if it holds none.
  const Value* FindGlobal(std::string_view module, std::string_view qualified_name) const;
  // The str that InternStr() would return, if it is there already; else null.
  const Value* FindStr(std::string_view utf8) const;

  // True if a text came from a caller and was not seen to be UTF-8 yet.
  bool has_unchecked_text() const { return has_unchecked_text_; }

  // One more than the largest Value::id() given out.
  uint32_t id_limit() const { return next_id_; }

 private:
  friend class internal::Copier;
  friend class internal::Machine;
  friend class Decoder;
  friend class Encoder;
  struct InternTable;
  struct AttachTable;

  Value Text(Kind kind, std::string_view text, uint32_t id);
  std::string_view CopyText(std::string_view text);
  Value Object(Kind kind, const Value& first, const Value& second, const Value& third);
  void AddPart(const Value& object, PartKind kind, std::span<const Value> values);
  Value Keyed(Kind kind);
  Status PutKeys(const Value& container, size_t stride, std::span<const Value> entries);
  void MakeRoom(Value** items, uint64_t size, uint64_t* capacity, size_t count);
  InternTable& interned();
  Value InternGlobal(const Value& module, const Value& name);
  void AttachObject(const Value& value, std::shared_ptr<void> object, const std::type_info& type);
  std::shared_ptr<void> AttachedObject(const Value& value, const std::type_info& type) const;
  uint32_t NextId();  // throws std::bad_alloc after 2^32 - 2 objects

  Arena arena_;
  Value root_;
  std::vector<Buffer> buffers_;
  std::vector<Buffer> held_;
  std::unique_ptr<InternTable> interned_;  // made when first asked for
  std::unique_ptr<AttachTable> attached_;  // the same
  uint32_t next_id_ = 1;
  bool has_unchecked_text_ = false;
};

}  // namespace pannier::codec
