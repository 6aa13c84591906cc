#include "pannier/codec/compare.h"

#include <vector>

#include "absl/container/flat_hash_map.h"
#include "pannier/codec/key_index.h"
#include "pannier/codec/value_access.h"

namespace pannier::codec {
namespace {

using internal::Children;
using internal::IsLeaf;
using internal::IsText;
using internal::ObjectNode;
using internal::PartNode;

// Both graphs are walked side by side. What is done about objects met again differs.
class Comparison {
 public:
  Comparison(const Document& a, const Document& b) : a_(a), b_(b) {}
  virtual ~Comparison() = default;

  bool Run(const Value& a, const Value& b) {
    if (!Visit(a, b)) return false;
    while (!open_.empty()) {
      const Value* left = open_.back().a.Next();
      const Value* right = open_.back().b.Next();
      if (left == nullptr) {
        open_.pop_back();
      } else if (!Visit(*left, *right)) {
        return false;
      }
    }
    return true;
  }

 protected:
  enum class Met { kNever, kAsHere, kOtherwise };
  // Two objects of one kind stand at the same place: whether they were met before, at the
  // same place too. Notes that they are met now.
  virtual Met Meet(const Value& a, const Value& b) = 0;

 private:
  struct Pair {
    Children a;
    Children b;
  };

  bool Visit(const Value& a, const Value& b) {
    if (a.kind() != b.kind()) return false;
    if (IsLeaf(a)) return LeavesEqual(a, b);
    if (!SameShape(a, b)) return false;
    // The empty tuple is the one container without identity.
    if (ValueAccess::Payload(a) == 0) return true;
    switch (Meet(a, b)) {
      case Met::kOtherwise:
        return false;
      case Met::kAsHere:
        return true;
      case Met::kNever:
        open_.push_back({Children(a), Children(b)});
    }
    return true;
  }

  bool LeavesEqual(const Value& a, const Value& b) const {
    if (IsText(a.kind())) return a.text() == b.text();
    if (!a.is(Kind::kBuffer)) return Is(a, b);
    const Buffer left = a_.buffer(a);
    const Buffer right = b_.buffer(b);
    return left.readonly() == right.readonly() && AsText(left.span()) == AsText(right.span());
  }

  // Whether the children of both stand for the same things, one by one.
  static bool SameShape(const Value& a, const Value& b) {
    if (!a.is_object()) return a.size() == b.size();
    const PartNode* left = ValueAccess::Node<ObjectNode>(a)->first_part;
    const PartNode* right = ValueAccess::Node<ObjectNode>(b)->first_part;
    while (left != nullptr && right != nullptr) {
      if (left->kind != right->kind || left->size != right->size) return false;
      left = left->next;
      right = right->next;
    }
    return left == right;
  }

  const Document& a_;
  const Document& b_;
  std::vector<Pair> open_;
};

// Objects assumed equal are joined in one class; meeting two of one class again adds nothing.
// There are no more joins than objects, so this ends soon, cycles and all.
class EqualComparison final : public Comparison {
 public:
  using Comparison::Comparison;

 private:
  Met Meet(const Value& a, const Value& b) override {
    const uint64_t left = ClassOf(ValueAccess::Payload(a));
    const uint64_t right = ClassOf(ValueAccess::Payload(b));
    if (left == right) return Met::kAsHere;
    parents_[left] = right;
    return Met::kNever;
  }

  uint64_t ClassOf(uint64_t node) {
    const auto parent_of = [&](uint64_t child) {
      const auto found = parents_.find(child);
      return found == parents_.end() ? child : found->second;
    };
    while (true) {
      const uint64_t parent = parent_of(node);
      if (parent == node) return node;
      const uint64_t above = parent_of(parent);
      if (above != parent) parents_[node] = above;  // halves the path
      node = parent;
    }
  }

  absl::flat_hash_map<uint64_t, uint64_t> parents_;
};

class IsomorphicComparison final : public Comparison {
 public:
  IsomorphicComparison(const Document& a, const Document& b)
      : Comparison(a, b), to_b_(a.id_limit()), to_a_(b.id_limit()) {}

 private:
  Met Meet(const Value& a, const Value& b) override {
    uint32_t& right = to_b_[a.id()];
    uint32_t& left = to_a_[b.id()];
    if (right == 0 && left == 0) {
      right = b.id();
      left = a.id();
      return Met::kNever;
    }
    return right == b.id() && left == a.id() ? Met::kAsHere : Met::kOtherwise;
  }

  std::vector<uint32_t> to_b_;  // by id; 0: not met yet
  std::vector<uint32_t> to_a_;
};

}  // namespace

bool Equal(const Document& a_document, const Value& a, const Document& b_document, const Value& b) {
  return EqualComparison(a_document, b_document).Run(a, b);
}

bool Isomorphic(const Document& a, const Document& b) {
  return IsomorphicComparison(a, b).Run(a.root(), b.root());
}

bool KeyEqual(const Value& a, const Value& b) {
  internal::KeyWork unlimited;
  return internal::KeyEqual(a, b, &unlimited);
}

}  // namespace pannier::codec
