// C++ types for Python classes, told at run time. While a stream is decoded that makes an
// instance of a registered class, or calls a registered function, the registry makes the C++
// object at that opcode and gives it state and items as they come, as an unpickler does with the
// Python object:
//
//   ClassRegistry classes;
//   classes.Add<TextReader>("reader", "TextReader", {
//       .set_state = [](TextReader& reader, const Value& state, Document&) {
//         return reader.Reopen(state);
//       }});
//   DecodeOptions options;
//   options.classes = &classes;
//   auto document = Decode(stream, options);
//   std::shared_ptr<TextReader> reader = document->Attached<TextReader>(document->root());
//
// The object is attached to the value that describes the instance (Document::Attached()), so one
// that the stream shares is one object, and one that contains itself finds itself. The value
// stays what it is, and is written again as it was read; EncodeOptions::dispatch writes the
// object's present state instead.
//
// A compile-time alternative, for structs that are read whole: convert_class.h.
#pragma once

#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <typeinfo>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "pannier/base/status.h"
#include "pannier/codec/document.h"
#include "pannier/codec/value.h"

namespace pannier::codec {

// How a class or function is called: NEWOBJ, NEWOBJ_EX, REDUCE, INST and OBJ, and the calls of
// copyreg that stand for them in old protocols, which are not seen here.
struct ClassCall {
  std::span<const Value> args;
  Value kwargs;  // a Dict, or None if there are none
  Document& document;
};

// All run on the decoding thread; an error ends the decoding. Values are of `document`.
template <class T>
struct ClassHooks {
  // Unset: T(), from no arguments.
  std::function<StatusOr<std::shared_ptr<T>>(const ClassCall& call)> make = nullptr;
  // __setstate__: gets the state whatever it is.
  std::function<Status(T& object, const Value& state, Document& document)> set_state = nullptr;
  // Without set_state: called for each attribute of a state that is a dict, or a pair of
  // dicts or None, the second for slots.
  std::function<Status(T& object, std::string_view name, const Value& value, Document& document)>
      set_attribute = nullptr;
  // APPEND(S) and ADDITEMS, once for each item.
  std::function<Status(T& object, const Value& item, Document& document)> append = nullptr;
  std::function<Status(T& object, const Value& key, const Value& value, Document& document)>
      set_item = nullptr;
  // setter(object, state), by a function that the stream names.
  std::function<Status(T& object, const Value& setter, const Value& state, Document& document)>
      call_setter = nullptr;
};

namespace internal {

// The hooks with the type erased; `object` is a T of the class.
struct ErasedClass {
  ClassHooks<void*> hooks;  // T& is the address of the object's address
  const std::type_info* type = nullptr;
  std::function<StatusOr<std::shared_ptr<void>>(const ClassCall& call)> make;
};

}  // namespace internal

// Thread-compatible: any number of decoders may use one, while nobody adds to it.
class ClassRegistry {
 public:
  // Registers a class or function under its module and qualified name, as Python 3 has them, in
  // place of what was there.
  template <class T>
  void Add(std::string_view module, std::string_view name, ClassHooks<T> hooks);

  // For the decoder: the entry; null if there is none.
  const internal::ErasedClass* Find(std::string_view module, std::string_view name) const;

 private:
  void AddErased(std::string_view module, std::string_view name, internal::ErasedClass erased);

  absl::flat_hash_map<std::string, absl::flat_hash_map<std::string, internal::ErasedClass>>
      classes_;  // by module, by name
};

namespace internal {

// hook(T&, arguments...) as a function of the address of a T's address; unset stays unset.
template <class T, class... A>
std::function<Status(void*&, A...)> Erase(std::function<Status(T&, A...)> hook) {
  if (!hook) return nullptr;
  return [hook = std::move(hook)](void*& object, A... arguments) {
    return hook(*static_cast<T*>(object), std::forward<A>(arguments)...);
  };
}

}  // namespace internal

template <class T>
void ClassRegistry::Add(std::string_view module, std::string_view name, ClassHooks<T> hooks) {
  internal::ErasedClass erased;
  erased.type = &typeid(T);
  if (hooks.make) {
    erased.make =
        [make = std::move(hooks.make)](const ClassCall& call) -> StatusOr<std::shared_ptr<void>> {
      return make(call);
    };
  } else if constexpr (std::is_default_constructible_v<T>) {
    erased.make = [](const ClassCall& call) -> StatusOr<std::shared_ptr<void>> {
      if (!call.args.empty() || !call.kwargs.is_none()) {
        return MakeError(ErrorKind::kUnpickling, "it takes no arguments here");
      }
      return std::make_shared<T>();
    };
  }
  erased.hooks.set_state = internal::Erase<T>(std::move(hooks.set_state));
  erased.hooks.set_attribute = internal::Erase<T>(std::move(hooks.set_attribute));
  erased.hooks.append = internal::Erase<T>(std::move(hooks.append));
  erased.hooks.set_item = internal::Erase<T>(std::move(hooks.set_item));
  erased.hooks.call_setter = internal::Erase<T>(std::move(hooks.call_setter));
  AddErased(module, name, std::move(erased));
}

}  // namespace pannier::codec
