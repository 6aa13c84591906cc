// From Values to Python objects, without a recursion, in four passes: the objects without their
// contents (a Value and its children are met in any order, as there may be cycles); tuples and
// frozensets in the order in which the stream made them, which is children first; what objects
// and lists hold; and last dicts and sets, whose keys are complete by then.
#include <algorithm>
#include <array>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include <nanobind/nanobind.h>

#include "codec.h"
#include "key_cost.h"
#include "pannier/codec/value_access.h"
#include "status.h"

namespace nb = nanobind;

namespace pannier::python {
namespace {

using codec::Kind;
using codec::Part;
using codec::PartKind;
using codec::Value;

// New references, checked.
nb::object Checked(PyObject* object) {
  if (object == nullptr) throw nb::python_error();
  return nb::steal(object);
}
void Check(int result) {
  if (result != 0) throw nb::python_error();
}

nb::object StrOf(std::string_view text) {
  return Checked(
      PyUnicode_DecodeUTF8(text.data(), static_cast<Py_ssize_t>(text.size()), "surrogatepass"));
}

nb::object BytesOf(std::string_view text) {
  return Checked(PyBytes_FromStringAndSize(text.data(), static_cast<Py_ssize_t>(text.size())));
}

std::string_view PartName(PartKind kind) {
  switch (kind) {
    case PartKind::kState:
      return "state";
    case PartKind::kAppend:
      return "append";
    case PartKind::kSetItem:
      return "setitem";
    case PartKind::kAdd:
      return "add";
    case PartKind::kSetter:
      return "setter";
  }
  return "";
}

class Builder {
 public:
  Builder(const PickleDocument& self, const nb::tuple& nodes)
      : self_(self),
        nodes_(nodes),
        from_bytes_(nb::module_::import_("builtins").attr("int").attr("from_bytes")),
        made_(self.document.id_limit()),
        costs_(self.comparisons != 0 ? self.comparisons
                                     : KeyCosts::AllowedFor(self.result.consumed)) {}

  nb::object Run() {
    Discover(self_.document.root());
    std::sort(hashed_.begin(), hashed_.end(),
              [](const Value& a, const Value& b) { return a.id() < b.id(); });
    for (const Value& value : hashed_) {
      value.is(Kind::kTuple) ? FillTuple(value) : FillSet(value);
    }
    for (const Value& value : plain_) value.is(Kind::kList) ? FillList(value) : FillObject(value);
    for (const Value& value : keyed_) value.is(Kind::kDict) ? FillDict(value) : FillSet(value);
    return Of(self_.document.root());
  }

 private:
  enum Node {
    kReduceNode,
    kNewObjNode,
    kNewObjExNode,
    kInstanceNode,
    kPersistentNode,
    kExtensionNode,
    kGlobalNode,
    kPartNode,
    kStr8Node
  };

  nb::handle Class(Node node) const { return nodes_[static_cast<size_t>(node)]; }

  // ---- First pass.

  void Discover(const Value& root) {
    std::vector<Value> pending;
    Meet(root, &pending);
    while (!pending.empty()) {
      const Value value = pending.back();
      pending.pop_back();
      codec::internal::Children children(value);
      while (const Value* child = children.Next()) Meet(*child, &pending);
    }
  }

  void Meet(const Value& value, std::vector<Value>* pending) {
    if (codec::internal::IsLeaf(value) || value.id() == 0 || made_[value.id()].is_valid()) return;
    made_[value.id()] = Shell(value);
    // What these are hashed by; keys and elements are hashed before objects are filled.
    if (value.is(Kind::kGlobal)) {
      made_[value.id()].attr("module") = Of(value.module());
      made_[value.id()].attr("name") = Of(value.name());
    } else if (value.is(Kind::kExtension)) {
      made_[value.id()].attr("code") = nb::int_(value.extension_code());
    }
    switch (value.kind()) {
      case Kind::kTuple:
      case Kind::kFrozenSet:
        hashed_.push_back(value);
        break;
      case Kind::kDict:
      case Kind::kSet:
        keyed_.push_back(value);
        break;
      default:
        plain_.push_back(value);
    }
    pending->push_back(value);
  }

  nb::object Shell(const Value& value) const {
    switch (value.kind()) {
      case Kind::kTuple:
        return Checked(PyTuple_New(static_cast<Py_ssize_t>(value.size())));
      case Kind::kList:
        return Checked(PyList_New(static_cast<Py_ssize_t>(value.size())));
      case Kind::kDict:
        return Checked(PyDict_New());
      case Kind::kSet:
        return Checked(PySet_New(nullptr));
      case Kind::kFrozenSet:
        return Checked(PyFrozenSet_New(nullptr));
      case Kind::kGlobal:
        return Bare(kGlobalNode);
      case Kind::kReduce:
        return Bare(kReduceNode);
      case Kind::kNewObj:
        return Bare(kNewObjNode);
      case Kind::kNewObjEx:
        return Bare(kNewObjExNode);
      case Kind::kInstance:
        return Bare(kInstanceNode);
      case Kind::kPersistent:
        return Bare(kPersistentNode);
      default:
        return Bare(kExtensionNode);
    }
  }

  nb::object Bare(Node node) const {
    auto* type = reinterpret_cast<PyTypeObject*>(Class(node).ptr());
    return Checked(type->tp_alloc(type, 0));
  }

  // ---- Values whose object exists, or that are leaves.

  nb::object Of(const Value& value) {
    if (!codec::internal::IsLeaf(value)) {
      return value.id() == 0 ? Checked(PyTuple_New(0)) : made_[value.id()];
    }
    if (value.id() == 0) return Leaf(value);
    nb::object& known = made_[value.id()];
    if (!known.is_valid()) known = Leaf(value);
    return known;
  }

  nb::object Leaf(const Value& value) const {
    switch (value.kind()) {
      case Kind::kNone:
        return nb::none();
      case Kind::kBool:
        return nb::borrow(value.bool_value() ? Py_True : Py_False);
      case Kind::kInt:
        return Checked(PyLong_FromLongLong(value.int_value()));
      case Kind::kBigInt:
        return from_bytes_(BytesOf(value.text()), "little", nb::arg("signed") = true);
      case Kind::kFloat:
        return Checked(PyFloat_FromDouble(value.float_value()));
      case Kind::kStr:
        return StrOf(value.text());
      case Kind::kBytes:
        return BytesOf(value.text());
      case Kind::kByteArray:
        return Checked(PyByteArray_FromStringAndSize(value.text().data(),
                                                     static_cast<Py_ssize_t>(value.text().size())));
      case Kind::kStr8:
        return Class(kStr8Node)(BytesOf(value.text()));
      default:
        return self_.ObjectOf(self_.document.buffer(value));
    }
  }

  // ---- Later passes.

  void FillTuple(const Value& value) {
    const std::span<const Value> items = value.items();
    PyObject* tuple = made_[value.id()].ptr();
    for (size_t i = 0; i < items.size(); ++i) {
      PyTuple_SET_ITEM(tuple, static_cast<Py_ssize_t>(i), Of(items[i]).release().ptr());
    }
  }

  void FillList(const Value& value) {
    const std::span<const Value> items = value.items();
    PyObject* list = made_[value.id()].ptr();
    for (size_t i = 0; i < items.size(); ++i) {
      PyList_SET_ITEM(list, static_cast<Py_ssize_t>(i), Of(items[i]).release().ptr());
    }
  }

  // A frozenset can be added to as long as nobody else has a reference to it.
  void FillSet(const Value& value) {
    for (const Value& item : value.items()) {
      RaiseIfError(costs_.Spend(item));
      Check(PySet_Add(made_[value.id()].ptr(), Of(item).ptr()));
    }
  }

  void FillDict(const Value& value) {
    for (const codec::DictEntry& entry : value.entries()) {
      RaiseIfError(costs_.Spend(entry.key));
      Check(PyDict_SetItem(made_[value.id()].ptr(), Of(entry.key).ptr(), Of(entry.value).ptr()));
    }
  }

  void FillObject(const Value& value) {
    nb::object& object = made_[value.id()];
    switch (value.kind()) {
      case Kind::kGlobal:
      case Kind::kExtension:
        break;
      case Kind::kPersistent:
        object.attr("id") = Of(value.persistent_id());
        break;
      default:
        object.attr("callee") = Of(value.callee());
        object.attr("args") = Of(value.args());
        if (value.is(Kind::kNewObjEx)) object.attr("kwargs") = Of(value.kwargs());
    }
    object.attr("parts") = Parts(value);
  }

  nb::object Parts(const Value& value) {
    if (value.parts().empty()) return Checked(PyTuple_New(0));
    nb::list parts;
    for (const Part part : value.parts()) {
      nb::list values;
      const std::span<const Value> of = part.values();
      if (part.kind() == PartKind::kSetItem) {
        for (size_t i = 0; i + 1 < of.size(); i += 2) {
          values.append(nb::make_tuple(Of(of[i]), Of(of[i + 1])));
        }
      } else {
        for (const Value& one : of) values.append(Of(one));
      }
      const std::string_view name = PartName(part.kind());
      parts.append(Class(kPartNode)(nb::str(name.data(), name.size()), values));
    }
    return nb::tuple(parts);
  }

  const PickleDocument& self_;
  const nb::tuple& nodes_;
  const nb::object from_bytes_;
  std::vector<nb::object> made_;  // by Value::id
  std::vector<Value> hashed_;     // tuples, frozensets
  std::vector<Value> plain_;      // lists, objects
  std::vector<Value> keyed_;      // dicts, sets
  KeyCosts costs_;
};

}  // namespace

nb::object PickleDocument::ObjectOf(const Buffer& buffer) const {
  const auto found = given.find(buffer.owner());
  // No owner: a read-only view of a bytearray in the stream.
  const nb::object object =
      found == given.end() ? BytesOf(AsText(buffer.span())) : found->second.object;
  if (found != given.end() && found->second.readonly == buffer.readonly()) return object;
  return Checked(PyMemoryView_FromObject(object.ptr())).attr("toreadonly")();
}

nb::object ToPython(const PickleDocument& self, const nb::tuple& nodes) {
  return Builder(self, nodes).Run();
}

}  // namespace pannier::python
