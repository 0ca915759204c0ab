// The values of the Jinja interpreter: Python's, as far as chat templates see them.
#pragma once

#include <absl/container/flat_hash_map.h>

#include <cstdint>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "libs/tokenizer/marked_text.h"

namespace weft::jinja {

enum class Kind : uint8_t {
  kUndefined,
  kNone,
  kBool,
  kInt,
  kFloat,
  kString,
  kList,
  kDict,
  kNamespace,
  kLoop,
  kFunction,
};

// What Python type a kList value has: they differ in truth, length, subscripts and printing.
enum class ListForm : uint8_t { kList, kTuple, kView, kGenerator };

// What a heap-allocated value is. `depth` is 1 + that of the deepest part, so that recursion over
// values, their destruction included, is bounded.
struct Object {
  virtual ~Object() = default;
  uint32_t depth = 1;
};

// Namespaces change: one that held itself, or a list of itself, would be a cycle. Their depth is
// beyond every limit, so that no namespace holds one; lists may, and count on from there. Loops
// refer to their items and are a part of nothing.
constexpr uint32_t kNamespaceDepth = 1u << 30;
constexpr uint32_t kLoopDepth = 1u << 31;

struct ListObject;
struct DictObject;
struct NamespaceObject;
struct LoopObject;
struct FunctionObject;

// Cheap to copy; everything but a namespace is immutable. Not thread safe: one render owns it.
class Value {
 public:
  Value() = default;                         // undefined
  static Value Undefined(std::string hint);  // printed in the error when it is used
  static Value None();
  static Value Bool(bool value);
  static Value Int(int64_t value);
  static Value Float(double value);
  static Value String(MarkedText value);
  static Value Own(std::string value);  // a string that does not hold text of the caller
  // A string that is HTML already, Python's Markup: what is added to it is escaped
  // (jinja_markup.cc).
  static Value Markup(MarkedText value);
  static Value List(std::vector<Value> items, ListForm form = ListForm::kList);
  static Value Dict(std::vector<std::pair<Value, Value>> items);  // later equal keys win
  static Value Of(Kind kind, std::shared_ptr<Object> object);

  Kind kind() const { return kind_; }
  bool Is(Kind kind) const { return kind_ == kind; }
  bool IsNumber() const { return Is(Kind::kBool) || Is(Kind::kInt) || Is(Kind::kFloat); }
  bool IsIntegral() const { return Is(Kind::kBool) || Is(Kind::kInt); }
  bool IsList(ListForm form) const { return Is(Kind::kList) && form_ == form; }
  // A list or a tuple: what Python calls a sequence, strings apart.
  bool IsSequence() const { return Is(Kind::kList) && form_ <= ListForm::kTuple; }

  bool bool_value() const { return int_ != 0; }
  int64_t int_value() const { return int_; }  // also of a bool
  double float_value() const;                 // of any number
  const std::string& string() const;          // kString; of undefined its hint
  const MarkedText& text() const;             // the same with the marks of the caller's parts
  bool IsMarkup() const { return markup_; }
  ListForm form() const { return form_; }
  const std::vector<Value>& items() const;                         // kList
  std::shared_ptr<const std::vector<Value>> shared_items() const;  // kList, without a copy
  const DictObject& dict() const;
  NamespaceObject& name_space() const;
  const LoopObject& loop() const;
  const FunctionObject& function() const;
  const Object* object() const { return object_.get(); }
  uint32_t depth() const { return object_ ? object_->depth : 0; }

  bool Truthy() const;
  std::string_view TypeName() const;  // Python's: "str", "dict" ...

 private:
  Kind kind_ = Kind::kUndefined;
  ListForm form_ = ListForm::kList;
  bool markup_ = false;  // of a kString
  union {
    int64_t int_ = 0;
    double float_;
  };
  std::shared_ptr<Object> object_;
};

struct StringObject final : Object {
  MarkedText text;
};
struct ListObject final : Object {
  std::vector<Value> items;
};
// Keeps the order of insertion, as Python does.
struct DictObject final : Object {
  const Value* Find(const Value& key) const;
  const Value* Find(std::string_view key) const;
  std::vector<std::pair<Value, Value>> items;
  absl::flat_hash_map<std::string, uint32_t> by_text;   // string keys
  absl::flat_hash_map<std::string, uint32_t> by_other;  // numbers and None, see jinja_value.cc
};
struct NamespaceObject final : Object {
  absl::flat_hash_map<std::string, Value> values;
};
// The special variable `loop` of one iteration.
struct LoopObject final : Object {
  std::shared_ptr<const std::vector<Value>> items;
  size_t index0 = 0;
  uint32_t nesting = 1;
  std::shared_ptr<Value> last_changed;  // of loop.changed(), shared by all iterations
};

struct Node;
class Scope;
class Interpreter;

struct Args {
  std::vector<Value> positional;
  std::vector<std::pair<std::string, Value>> named;
  size_t unpacked_from = SIZE_MAX;  // named[unpacked_from] and after came from **mapping
  // The name of a named argument as a value, which a function that takes any name may show.
  Value Name(size_t index) const {
    const std::string& name = named[index].first;
    // Those that were unpacked may be keys of the caller.
    return index < unpacked_from ? Value::Own(name) : Value::String(MarkedText::FromCaller(name));
  }
};

struct FunctionObject final : Object {
  using Builtin = Value (*)(Interpreter&, const Value& self, const Args&);
  std::string name;
  Builtin builtin = nullptr;
  Value self;                   // of a bound method
  const Node* macro = nullptr;  // or a macro or caller() block
  Scope* closure = nullptr;     // kept alive by the interpreter
};

// Whether the value can be a key of a dict: str, numbers, None and undefined. (Python's tuples too;
// templates have no use for them.)
bool IsKey(const Value& value);

// ==; numbers of different types compare by value, as in Python. Values share parts, so that
// comparing (and printing) can cost far more than making them: each step takes from `budget`, and
// at 0 the result means nothing.
bool Equal(const Value& a, const Value& b, uint64_t& budget);
// -1, 0 or 1; nothing when Python would raise TypeError.
std::optional<int> Order(const Value& a, const Value& b, uint64_t& budget);

// repr(), which stops soon after max_bytes.
MarkedText Repr(const Value& value, uint64_t max_bytes);
std::string FloatRepr(double value);

// json.dumps(value, ensure_ascii=False, ...) as transformers' `tojson` calls it.
struct JsonStyle {
  std::optional<MarkedText> indent;  // the text of one level
  MarkedText item_separator = MarkedText::Own(", ");
  MarkedText key_separator = MarkedText::Own(": ");
  bool sort_keys = false;
  bool ensure_ascii = false;
  uint64_t max_bytes = UINT64_MAX;  // it stops soon after
};
// False when the value holds something that JSON has not; `what` then names its type.
bool ToJson(const Value& value, const JsonStyle& style, MarkedText& out, std::string& what);

// The value of a caller's JSON: its strings, keys included, are marked as the caller's. A `role`
// that is one of the words that chat formats know is not: templates build control tokens of it
// ('<|' + role + '|>'). False when it nests deeper than max_depth.
bool FromJson(const nlohmann::ordered_json& json, uint32_t max_depth, Value& out);

}  // namespace weft::jinja
