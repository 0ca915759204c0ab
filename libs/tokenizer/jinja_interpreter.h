// Runs one render of one template.
#pragma once

#include <absl/container/flat_hash_map.h>
#include <absl/status/statusor.h>
#include <fmt/format.h>

#include <cstdint>
#include <initializer_list>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "libs/tokenizer/chat_template.h"
#include "libs/tokenizer/jinja_ast.h"
#include "libs/tokenizer/jinja_value.h"

namespace weft::jinja {

// Variables of one block. Loops, macros and `with` open a scope; `if` does not.
class Scope : public std::enable_shared_from_this<Scope> {
 public:
  explicit Scope(Scope* parent) : parent_(parent) {}
  void Set(uint32_t name, Value value);
  const Value* Find(uint32_t name) const;  // here or further out

 private:
  friend class Interpreter;
  const Value* FindHere(uint32_t name) const;

  Scope* parent_;
  bool kept_ = false;  // a macro may still need it
  std::vector<std::pair<uint32_t, Value>> values_;
  absl::flat_hash_map<uint32_t, uint32_t> index_;  // once there are many
};

// Owned by one render on one thread. After the first failure every operation returns at once and
// the failure stays: callers look at failed() where they would otherwise go on with a wrong value.
class Interpreter {
 public:
  Interpreter(const Template& parsed, const ChatTemplateLimits& limits, const Clock& clock);

  void SetGlobal(std::string_view name, Value value);
  bool Uses(std::string_view name) const;  // whether the template mentions the name
  absl::StatusOr<MarkedText> Run();

  // For operators, filters, tests and methods.
  template <typename... A>
  Value Fail(fmt::format_string<A...> format, A&&... args) {
    return FailWith(absl::StatusCode::kInvalidArgument,
                    fmt::format(format, std::forward<A>(args)...));
  }
  Value FailWith(absl::StatusCode code, std::string message);
  bool failed() const { return !error_.ok(); }
  // Accounts for work or memory in proportion to `bytes`; false when that was too much.
  bool Charge(uint64_t bytes);
  const ChatTemplateLimits& limits() const { return limits_; }
  const Clock& clock() const { return clock_; }

  // The arguments of a call by position or name. False (failed) on unknown, doubled or missing
  // ones; the first `required` must be given.
  bool Bind(std::string_view what, const Args& args, std::initializer_list<std::string_view> names,
            size_t required, std::vector<std::optional<Value>>& out);
  Value Call(const Value& callee, const Args& args);
  Value CallFilter(const std::string& name, const Value& value, const Args& args);
  bool CallTest(const std::string& name, const Value& value, const Args& args);
  Value GetAttr(const Value& object, const std::string& name);  // object.name
  Value GetItem(const Value& object, const Value& key);         // object[key]
  Value Slice(const Value& object, const Value& start, const Value& stop, const Value& step);
  Value Binary(std::string_view op, const Value& a, const Value& b);
  bool Contains(const Value& container, const Value& item);
  // What a for loop sees; null (failed) when it is not iterable.
  std::shared_ptr<const std::vector<Value>> Iterate(const Value& value);
  MarkedText Text(const Value& value);                                     // str(), accounted for
  MarkedText ReprText(const Value& value);                                 // repr(), accounted for
  uint64_t left() const { return limits_.max_produced_bytes - charged_; }  // to be charged
  bool Same(const Value& a, const Value& b);                               // ==, accounted for
  std::optional<int> Compare(const Value& a, const Value& b);              // Order, accounted for

 private:
  enum class Flow { kNext, kBreak, kContinue };
  class Deeper;

  Flow ExecBody(const std::vector<Node::Ptr>& body, Scope& scope);
  Flow Exec(const Node& node, Scope& scope);
  Flow ExecFor(const Node& node, Scope& scope);
  Flow ExecIf(const Node& node, Scope& scope);
  Flow ExecWith(const Node& node, Scope& scope);
  void ExecSetBlock(const Node& node, Scope& scope);
  void ExecCallBlock(const Node& node, Scope& scope);
  MarkedText Capture(const std::vector<Node::Ptr>& body, Scope& scope);
  void Output(const MarkedText& text);
  bool MayOutput(size_t bytes);
  void Assign(const Node& target, Value value, Scope& scope);
  Value MakeMacro(const Node& node, Scope& scope);
  Value CallMacro(const FunctionObject& function, const Args& args);

  Value Eval(const Node& node, Scope& scope);
  Value EvalName(const Node& node, Scope& scope);
  Value EvalList(const Node& node, Scope& scope);
  Value EvalDict(const Node& node, Scope& scope);
  Value EvalConcat(const Node& node, Scope& scope);
  Value EvalCompare(const Node& node, Scope& scope);
  Value EvalCall(const Node& node, Scope& scope);
  Value EvalFilter(const Node& node, const Value* input, Scope& scope);
  Value EvalSlice(const Node& node, Scope& scope);
  Value EvalSign(const Node& node, Scope& scope);
  bool EvalArgs(const Node& node, Scope& scope, Args& args);
  bool CompareOnce(const std::string& op, const Value& a, const Value& b);
  Value Checked(Value value);  // fails when the value nests too deep
  Value Arithmetic(std::string_view op, const Value& a, const Value& b);
  Value IntArithmetic(std::string_view op, int64_t a, int64_t b);
  Value FloatArithmetic(std::string_view op, double a, double b);
  Value Repeat(const Value& sequence, int64_t times);
  void Keep(Scope& scope);
  std::optional<uint32_t> SymbolOf(std::string_view name) const;

  const Template& template_;
  const ChatTemplateLimits& limits_;
  const Clock& clock_;
  std::shared_ptr<Scope> root_;
  std::vector<std::shared_ptr<Scope>> kept_;
  std::optional<uint32_t> loop_name_;
  std::optional<uint32_t> caller_name_;
  std::optional<uint32_t> varargs_name_;
  std::optional<uint32_t> kwargs_name_;
  MarkedText* out_ = nullptr;
  absl::Status error_;
  uint32_t line_ = 0;  // of the node that runs
  uint64_t steps_ = 0;
  uint64_t charged_ = 0;
  uint32_t depth_ = 0;
  uint32_t loop_nesting_ = 0;
};

using Function = FunctionObject::Builtin;
// Null when there is none of that name.
Function FindFilter(std::string_view name);
Function FindGlobal(std::string_view name);
Function FindMethod(const Value& self, std::string_view name);
using TestFunction = bool (*)(Interpreter&, const Value&, const Args&);
TestFunction FindTest(std::string_view name);
// %-formatting and str.format; the value is what stands on the left.
Value FormatPercent(Interpreter& in, const MarkedText& format, const Value& arguments);
Value FormatBraces(Interpreter& in, const MarkedText& format, const Args& args);
// Python's Markup. Escaped: a string that is not markup with &, <, >, ' and " as entities; another
// value as it is.
Value Escaped(Interpreter& in, const Value& value);
// The arguments of a method of a markup string (or of the filter `format`), escaped where they
// become parts of its result.
Args EscapedArgs(Interpreter& in, std::string_view method, const Args& args);
// The same of what stands to the right of %: one value, a tuple or a dict.
Value EscapedParts(Interpreter& in, const Value& values);
// The same value with its strings, or those in a list, as markup.
Value AsMarkup(Interpreter& in, const Value& value);
// Whether a filter of a markup string gives markup again; methods do.
bool FilterKeepsMarkup(std::string_view filter);
// A function value: a bound method or a builtin.
Value MakeFunction(std::string name, Function builtin, Value self = {});
// "a.b" or "0": the attribute paths of map, selectattr, sort ...
Value GetPath(Interpreter& in, const Value& object, const Value& path);
// One string for each character.
std::vector<Value> Characters(const MarkedText& text);

}  // namespace weft::jinja
