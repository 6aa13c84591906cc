// A visitor of a stream: builds what it likes instead of Values. For programs that read a known
// shape into their own structs, or look for something and keep nothing.
//
// A pickle is in postfix order: the items of a tuple come before the opcode that says that they
// are one, and a list may get more items long after it was mentioned elsewhere. A beginning and
// an end of each container therefore cannot be told in advance. What can be told, and is exact
// for every stream, is what the pickle machine does: the visitor is asked to make each container
// when the stream makes it, and is told what is put into it, in the stream's order and with the
// parts finished as far as the stream had them. Scalars, texts, globals and buffers come as
// Values, as they cost nothing; texts are borrowed from the stream.
//
// What a maker returns stands for the object from then on: on the stack, in the memo, and as
// part of others. It is a Handle, Value::Handle(n), with a number of the visitor's choice (an
// index or address), and what the stream does to it is told to the visitor; or any Value made in
// document(), and the decoder goes on with that by itself. The makers here, not overridden, make
// the Values that Decode() makes.
//
// The memo keeps what makers returned. So a shared object is made once, and mentioned again is
// the same Handle; one that contains itself is told as a part of itself. A Handle given to two
// objects makes one of them.
//
// Example: rows of {"id": int, "score": float}.
//
//   struct Rows : Visitor {
//     StatusOr<Value> Dict() override { rows.emplace_back(); return Value::Handle(rows.size() - 1);
//     } Status SetItems(const Value& dict, std::span<const DictEntry> entries) override {
//       for (const auto& [key, value] : entries) { ... rows[dict.handle()] ... }
//     }
//     std::vector<Row> rows;
//   };
//   decoder.Visit(stream, options, rows, &document);
#pragma once

#include <span>

#include "pannier/base/status.h"
#include "pannier/codec/document.h"
#include "pannier/codec/value.h"

namespace pannier::codec {

namespace internal {
class Machine;
}  // namespace internal

// A call that a stream makes. State setters are calls too, whose result is dropped.
struct VisitedCall {
  Kind kind;     // kReduce, kNewObj, kNewObjEx or kInstance
  Value callee;  // a Global, what persistent_load returned, or what another call made
  Value args;    // a Tuple, or what a maker returned for one
  Value kwargs;  // kNewObjEx: a Dict, or what a maker returned for one; else None
};

class Visitor {
 public:
  virtual ~Visitor() = default;

  // Makers. An error ends the visit with it. Spans are good during the call.
  virtual StatusOr<Value> Tuple(std::span<const Value> items);  // not called for ()
  virtual StatusOr<Value> List();
  virtual StatusOr<Value> Dict();
  virtual StatusOr<Value> Set();
  virtual StatusOr<Value> FrozenSet(std::span<const Value> items);
  virtual StatusOr<Value> Call(const VisitedCall& call);

  // What is done to a Handle. Not overridden: an error (Unpickling) that says what the stream
  // wants. A container's items come in batches of at most 1000, if a pickler wrote them.
  virtual Status Append(const Value& handle, std::span<const Value> items);
  virtual Status SetItems(const Value& handle, std::span<const DictEntry> entries);
  virtual Status AddItems(const Value& handle, std::span<const Value> items);
  virtual Status SetState(const Value& handle, const Value& state);

 protected:
  // Where Values are made. REQUIRES: inside one of the functions above.
  Document& document() const { return *document_; }

 private:
  friend class internal::Machine;
  Document* document_ = nullptr;
  internal::Machine* machine_ = nullptr;
};

}  // namespace pannier::codec
