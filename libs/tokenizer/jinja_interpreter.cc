// Statements, scopes, macros, limits. Expressions: jinja_eval.cc.
#include "libs/tokenizer/jinja_interpreter.h"

#include <algorithm>

#include "libs/base/clock.h"
#include "libs/base/status.h"

namespace weft::jinja {
namespace {

constexpr size_t kIndexFrom = 16;
// A byte of a value's text costs more than a byte copied.
constexpr uint64_t kTextCost = 8;

}  // namespace

void Scope::Set(uint32_t name, Value value) {
  if (const Value* known = FindHere(name)) {
    *const_cast<Value*>(known) = std::move(value);
    return;
  }
  values_.emplace_back(name, std::move(value));
  if (values_.size() == kIndexFrom) {
    for (uint32_t i = 0; i < values_.size(); ++i) index_.emplace(values_[i].first, i);
  } else if (values_.size() > kIndexFrom) {
    index_.emplace(name, static_cast<uint32_t>(values_.size() - 1));
  }
}

const Value* Scope::FindHere(uint32_t name) const {
  if (!index_.empty()) {
    const auto it = index_.find(name);
    return it == index_.end() ? nullptr : &values_[it->second].second;
  }
  for (const auto& [known, value] : values_) {
    if (known == name) return &value;
  }
  return nullptr;
}

const Value* Scope::Find(uint32_t name) const {
  for (const Scope* scope = this; scope != nullptr; scope = scope->parent_) {
    if (const Value* value = scope->FindHere(name)) return value;
  }
  return nullptr;
}

// Counts the recursion of the interpreter while it lives.
class Interpreter::Deeper {
 public:
  explicit Deeper(Interpreter& in) : in_(in) {
    if (++in_.depth_ > 5 * in_.limits_.max_depth) {
      in_.FailWith(absl::StatusCode::kResourceExhausted, "the template recurses too deep");
    }
  }
  ~Deeper() { --in_.depth_; }
  Deeper(const Deeper&) = delete;
  Deeper& operator=(const Deeper&) = delete;

 private:
  Interpreter& in_;
};

Interpreter::Interpreter(const Template& parsed, const ChatTemplateLimits& limits,
                         const Clock& clock)
    : template_(parsed), limits_(limits), clock_(clock), root_(std::make_shared<Scope>(nullptr)) {
  loop_name_ = SymbolOf("loop");
  caller_name_ = SymbolOf("caller");
  varargs_name_ = SymbolOf("varargs");
  kwargs_name_ = SymbolOf("kwargs");
}

std::optional<uint32_t> Interpreter::SymbolOf(std::string_view name) const {
  const auto it = template_.symbols.find(AbslView(name));
  if (it == template_.symbols.end()) return std::nullopt;
  return it->second;
}

bool Interpreter::Uses(std::string_view name) const { return SymbolOf(name).has_value(); }

void Interpreter::SetGlobal(std::string_view name, Value value) {
  if (const auto symbol = SymbolOf(name)) root_->Set(*symbol, std::move(value));
}

absl::StatusOr<MarkedText> Interpreter::Run() {
  MarkedText out;
  out_ = &out;
  ExecBody(template_.body, *root_);
  if (failed()) return error_;
  return out;
}

Value Interpreter::FailWith(absl::StatusCode code, std::string message) {
  if (!failed()) error_ = MakeStatus(code, fmt::format("template line {}: {}", line_, message));
  return {};
}

bool Interpreter::Charge(uint64_t bytes) {
  if (failed()) return false;
  if (bytes > left()) {
    FailWith(absl::StatusCode::kResourceExhausted,
             fmt::format("the template produces more than {} bytes on the way",
                         limits_.max_produced_bytes));
    return false;
  }
  charged_ += bytes;
  return true;
}

MarkedText Interpreter::Text(const Value& value) {
  if (failed()) return {};
  if (value.Is(Kind::kUndefined)) return {};
  if (!value.Is(Kind::kString)) return ReprText(value);
  return Charge(value.text().bytes()) ? value.text() : MarkedText();
}

MarkedText Interpreter::ReprText(const Value& value) {
  if (failed()) return {};
  MarkedText out = Repr(value, left() / kTextCost);
  return Charge(out.bytes() * kTextCost) ? out : MarkedText();
}

bool Interpreter::Same(const Value& a, const Value& b) {
  uint64_t budget = left();
  const uint64_t before = budget;
  const bool same = Equal(a, b, budget);
  // At 0 the comparison was cut short: one byte more than there is fails the render.
  return Charge(budget == 0 ? before + 1 : before - budget) && same;
}

std::optional<int> Interpreter::Compare(const Value& a, const Value& b) {
  uint64_t budget = left();
  const uint64_t before = budget;
  const std::optional<int> order = Order(a, b, budget);
  return Charge(budget == 0 ? before + 1 : before - budget) ? order : std::nullopt;
}

Value Interpreter::Checked(Value value) {
  if (!value.Is(Kind::kList) && !value.Is(Kind::kDict)) return value;
  if (value.depth() >= kLoopDepth || value.depth() % kNamespaceDepth > limits_.max_depth) {
    return Fail("a list or dict nests too deep or holds a loop");
  }
  return value;
}

bool Interpreter::MayOutput(size_t bytes) {
  if (out_->bytes() + bytes > limits_.max_output_bytes) {
    FailWith(absl::StatusCode::kResourceExhausted,
             fmt::format("the output is larger than {} bytes", limits_.max_output_bytes));
    return false;
  }
  return Charge(bytes);
}

void Interpreter::Output(const MarkedText& text) {
  if (MayOutput(text.bytes())) out_->Append(text);
}

MarkedText Interpreter::Capture(const std::vector<Node::Ptr>& body, Scope& scope) {
  MarkedText text;
  MarkedText* const outer = std::exchange(out_, &text);
  ExecBody(body, scope);
  out_ = outer;
  return text;
}

Interpreter::Flow Interpreter::ExecBody(const std::vector<Node::Ptr>& body, Scope& scope) {
  for (const Node::Ptr& node : body) {
    const Flow flow = Exec(*node, scope);
    if (flow != Flow::kNext) return flow;
    if (failed()) break;
  }
  return Flow::kNext;
}

Interpreter::Flow Interpreter::Exec(const Node& node, Scope& scope) {
  line_ = node.line;
  const Deeper deeper(*this);
  if (failed()) return Flow::kNext;
  switch (node.kind) {
    case NodeKind::kText:
      if (MayOutput(node.text.size())) out_->AppendOwn(node.text);
      break;
    case NodeKind::kOutput:
      for (const Node::Ptr& kid : node.kids) {
        const Value value = Eval(*kid, scope);
        if (failed()) break;
        if (value.Is(Kind::kString)) {
          Output(value.text());
        } else {
          Output(Text(value));
        }
      }
      break;
    case NodeKind::kIf:
      return ExecIf(node, scope);
    case NodeKind::kFor:
      return ExecFor(node, scope);
    case NodeKind::kSet: {
      Value value = Eval(*node.kids[1], scope);
      if (!failed()) Assign(*node.kids[0], std::move(value), scope);
      break;
    }
    case NodeKind::kSetBlock:
      ExecSetBlock(node, scope);
      break;
    case NodeKind::kMacro:
      scope.Set(node.name, MakeMacro(node, scope));
      break;
    case NodeKind::kCallBlock:
      ExecCallBlock(node, scope);
      break;
    case NodeKind::kFilterBlock: {
      const auto inner = std::make_shared<Scope>(&scope);
      const Value text = Value::String(Capture(node.body, *inner));
      const Value value = EvalFilter(*node.kids[0], &text, scope);
      if (!failed()) Output(Text(value));
      break;
    }
    case NodeKind::kWith:
      return ExecWith(node, scope);
    case NodeKind::kScope: {
      const auto inner = std::make_shared<Scope>(&scope);
      return ExecBody(node.body, *inner);
    }
    case NodeKind::kBreak:
      return Flow::kBreak;
    case NodeKind::kContinue:
      return Flow::kContinue;
    default:
      FailWith(absl::StatusCode::kInternal, "an expression stands where a statement should");
      break;
  }
  return Flow::kNext;
}

Interpreter::Flow Interpreter::ExecIf(const Node& node, Scope& scope) {
  for (const Node::Branch& branch : node.branches) {
    if (branch.condition != nullptr) {
      const bool holds = Eval(*branch.condition, scope).Truthy();
      if (failed()) return Flow::kNext;
      if (!holds) continue;
    }
    return ExecBody(branch.body, scope);
  }
  return Flow::kNext;
}

Interpreter::Flow Interpreter::ExecFor(const Node& node, Scope& scope) {
  const Value iterable = Eval(*node.kids[1], scope);
  if (failed()) return Flow::kNext;
  std::shared_ptr<const std::vector<Value>> items = Iterate(iterable);
  if (failed()) return Flow::kNext;
  const Node& target = *node.kids[0];
  if (node.kids[2] != nullptr) {
    auto kept = std::make_shared<std::vector<Value>>();
    for (const Value& item : *items) {
      const auto inner = std::make_shared<Scope>(&scope);
      Assign(target, item, *inner);
      const bool holds = !failed() && Eval(*node.kids[2], *inner).Truthy();
      if (failed()) return Flow::kNext;
      if (holds) kept->push_back(item);
    }
    if (!Charge(kept->size() * sizeof(Value))) return Flow::kNext;
    items = std::move(kept);
  }
  ++loop_nesting_;
  const auto last_changed = std::make_shared<Value>();
  bool ran_to_its_end = false;  // as in jinja2, `else` also runs when every round was cut short
  for (size_t i = 0; i < items->size(); ++i) {
    line_ = node.line;
    const auto inner = std::make_shared<Scope>(&scope);
    if (loop_name_) {
      auto loop = std::make_shared<LoopObject>();
      loop->depth = kLoopDepth;
      loop->items = items;
      loop->index0 = i;
      loop->nesting = loop_nesting_;
      loop->last_changed = last_changed;
      inner->Set(*loop_name_, Value::Of(Kind::kLoop, std::move(loop)));
    }
    Assign(target, (*items)[i], *inner);
    if (++steps_ > limits_.max_steps) {
      FailWith(absl::StatusCode::kResourceExhausted,
               fmt::format("the template takes more than {} steps", limits_.max_steps));
    }
    if (failed()) break;
    const Flow flow = ExecBody(node.body, *inner);
    if (failed() || flow == Flow::kBreak) break;
    if (flow == Flow::kNext) ran_to_its_end = true;
  }
  --loop_nesting_;
  if (failed() || ran_to_its_end || node.other.empty()) return Flow::kNext;
  return ExecBody(node.other, scope);
}

Interpreter::Flow Interpreter::ExecWith(const Node& node, Scope& scope) {
  const auto inner = std::make_shared<Scope>(&scope);
  for (size_t i = 0; i + 1 < node.kids.size(); i += 2) {
    Value value = Eval(*node.kids[i + 1], scope);
    if (failed()) return Flow::kNext;
    Assign(*node.kids[i], std::move(value), *inner);
  }
  return failed() ? Flow::kNext : ExecBody(node.body, *inner);
}

void Interpreter::ExecSetBlock(const Node& node, Scope& scope) {
  const auto inner = std::make_shared<Scope>(&scope);
  Value value = Value::String(Capture(node.body, *inner));
  if (!failed() && node.kids[1] != nullptr) value = EvalFilter(*node.kids[1], &value, scope);
  if (!failed()) Assign(*node.kids[0], std::move(value), scope);
}

void Interpreter::ExecCallBlock(const Node& node, Scope& scope) {
  const Node& call = *node.kids[0];
  const Value callee = Eval(*call.kids[0], scope);
  Args args;
  if (failed() || !EvalArgs(call, scope, args)) return;
  args.named.emplace_back("caller", MakeMacro(node, scope));
  const Value value = Call(callee, args);
  if (!failed()) Output(Text(value));
}

void Interpreter::Assign(const Node& target, Value value, Scope& scope) {
  switch (target.kind) {
    case NodeKind::kName:
      scope.Set(target.name, std::move(value));
      return;
    case NodeKind::kTuple: {
      const auto items = Iterate(value);
      if (failed()) return;
      if (items->size() != target.kids.size()) {
        Fail("{} values cannot be unpacked into {} names", items->size(), target.kids.size());
        return;
      }
      for (size_t i = 0; i < items->size() && !failed(); ++i) {
        Assign(*target.kids[i], (*items)[i], scope);
      }
      return;
    }
    case NodeKind::kNamespaceRef: {
      const Value* owner = scope.Find(target.name);
      if (owner == nullptr || !owner->Is(Kind::kNamespace)) {
        Fail("cannot assign attribute '{}' on something that is not a namespace", target.text);
        return;
      }
      if (value.depth() >= kNamespaceDepth) {
        Fail("a namespace cannot hold a namespace or a loop");
        return;
      }
      owner->name_space().values[target.text] = std::move(value);
      return;
    }
    default:
      Fail("this cannot be assigned to");
  }
}

void Interpreter::Keep(Scope& scope) {
  for (Scope* s = &scope; s != nullptr && !s->kept_; s = s->parent_) {
    s->kept_ = true;
    kept_.push_back(s->shared_from_this());
  }
}

Value Interpreter::MakeMacro(const Node& node, Scope& scope) {
  Keep(scope);
  auto function = std::make_shared<FunctionObject>();
  function->name = node.text;
  function->macro = &node;
  function->closure = &scope;
  return Value::Of(Kind::kFunction, std::move(function));
}

Value Interpreter::CallMacro(const FunctionObject& function, const Args& args) {
  const Node& node = *function.macro;
  const auto scope = std::make_shared<Scope>(function.closure);
  // The defaults of a call block come after the call itself.
  const size_t first_default = node.kind == NodeKind::kCallBlock ? 1 : 0;
  const size_t defaults = node.kids.size() - first_default;
  const size_t parameters = node.parameters.size();
  if (args.positional.size() > parameters && !node.uses_varargs) {
    return Fail("macro '{}' takes at most {} arguments, {} are given", function.name, parameters,
                args.positional.size());
  }
  std::vector<bool> given(parameters);
  for (size_t i = 0; i < parameters && i < args.positional.size(); ++i) {
    scope->Set(node.parameters[i], args.positional[i]);
    given[i] = true;
  }
  std::vector<std::pair<Value, Value>> others;
  Value caller = Value::Undefined("No caller defined");
  for (size_t n = 0; n < args.named.size(); ++n) {
    const auto& [name, value] = args.named[n];
    const auto symbol = SymbolOf(name);
    size_t i = 0;
    while (i < parameters && !(symbol && node.parameters[i] == *symbol)) ++i;
    if (i < parameters) {
      if (given[i]) return Fail("macro '{}' got two values for '{}'", function.name, name);
      scope->Set(node.parameters[i], value);
      given[i] = true;
    } else if (name == "caller") {
      caller = value;
    } else if (node.uses_kwargs) {
      others.emplace_back(args.Name(n), value);
    } else {
      return Fail("macro '{}' takes no argument '{}'", function.name, name);
    }
  }
  if (caller_name_ && node.kind == NodeKind::kMacro &&
      std::find(node.parameters.begin(), node.parameters.end(), *caller_name_) ==
          node.parameters.end()) {
    scope->Set(*caller_name_, caller);
  }
  if (varargs_name_ && node.uses_varargs) {
    const size_t used = std::min(parameters, args.positional.size());
    scope->Set(*varargs_name_,
               Checked(Value::List(
                   {args.positional.begin() + static_cast<ptrdiff_t>(used), args.positional.end()},
                   ListForm::kTuple)));
  }
  if (kwargs_name_ && node.uses_kwargs) {
    scope->Set(*kwargs_name_, Checked(Value::Dict(std::move(others))));
  }
  for (size_t i = 0; i < parameters && !failed(); ++i) {
    if (given[i]) continue;
    const size_t from_end = parameters - i;
    if (from_end <= defaults) {
      scope->Set(node.parameters[i], Eval(*node.kids[node.kids.size() - from_end], *scope));
    } else {
      scope->Set(node.parameters[i],
                 Value::Undefined(fmt::format("parameter '{}' was not provided",
                                              template_.names[node.parameters[i]])));
    }
  }
  if (failed()) return {};
  return Value::String(Capture(node.body, *scope));
}

Value Interpreter::Call(const Value& callee, const Args& args) {
  if (failed()) return {};
  if (callee.Is(Kind::kUndefined)) {
    return Fail("{}", callee.string().empty() ? "an undefined value is called" : callee.string());
  }
  if (!callee.Is(Kind::kFunction)) {
    return Fail("'{}' object is not callable", callee.TypeName());
  }
  const Deeper deeper(*this);
  if (failed()) return {};
  const FunctionObject& function = callee.function();
  if (function.macro != nullptr) {
    const uint32_t line = line_;
    Value out = CallMacro(function, args);
    if (!failed()) line_ = line;
    return out;
  }
  if (function.self.IsMarkup()) {
    const Args escaped = EscapedArgs(*this, function.name, args);
    if (failed()) return {};
    Value out = function.builtin(*this, function.self, escaped);
    return failed() ? Value() : AsMarkup(*this, Checked(std::move(out)));
  }
  return Checked(function.builtin(*this, function.self, args));
}

bool Interpreter::Bind(std::string_view what, const Args& args,
                       std::initializer_list<std::string_view> names, size_t required,
                       std::vector<std::optional<Value>>& out) {
  out.assign(names.size(), std::nullopt);
  if (args.positional.size() > names.size()) {
    Fail("{} takes at most {} arguments, {} are given", what, names.size(), args.positional.size());
    return false;
  }
  std::copy(args.positional.begin(), args.positional.end(), out.begin());
  for (const auto& [name, value] : args.named) {
    const auto it = std::find(names.begin(), names.end(), name);
    if (it == names.end()) {
      Fail("{} takes no argument '{}'", what, name);
      return false;
    }
    std::optional<Value>& slot = out[static_cast<size_t>(it - names.begin())];
    if (slot) {
      Fail("{} got two values for '{}'", what, name);
      return false;
    }
    slot = value;
  }
  for (size_t i = 0; i < required; ++i) {
    if (out[i]) continue;
    Fail("{} needs the argument '{}'", what, *(names.begin() + i));
    return false;
  }
  return true;
}

}  // namespace weft::jinja
