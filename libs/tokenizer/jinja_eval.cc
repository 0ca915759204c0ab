// Expressions.
#include <algorithm>
#include <utility>

#include "libs/base/status.h"
#include "libs/tokenizer/jinja_interpreter.h"

namespace weft::jinja {

Value Interpreter::Eval(const Node& node, Scope& scope) {
  if (failed()) return {};
  if (++steps_ > limits_.max_steps) {
    return FailWith(absl::StatusCode::kResourceExhausted,
                    fmt::format("the template takes more than {} steps", limits_.max_steps));
  }
  if (++depth_ > 5 * limits_.max_depth) {
    --depth_;
    return FailWith(absl::StatusCode::kResourceExhausted, "the template recurses too deep");
  }
  line_ = node.line;
  Value out;
  switch (node.kind) {
    case NodeKind::kConst:
      out = node.value;
      break;
    case NodeKind::kName:
      out = EvalName(node, scope);
      break;
    case NodeKind::kList:
    case NodeKind::kTuple:
      out = EvalList(node, scope);
      break;
    case NodeKind::kDict:
      out = EvalDict(node, scope);
      break;
    case NodeKind::kGetAttr:
      out = Eval(*node.kids[0], scope);
      if (!failed()) out = GetAttr(out, node.text);
      break;
    case NodeKind::kGetItem: {
      out = Eval(*node.kids[0], scope);
      const Value key = Eval(*node.kids[1], scope);
      if (!failed()) out = GetItem(out, key);
      break;
    }
    case NodeKind::kSlice:
      out = EvalSlice(node, scope);
      break;
    case NodeKind::kCall:
      out = EvalCall(node, scope);
      break;
    case NodeKind::kFilter:
      out = EvalFilter(node, nullptr, scope);
      break;
    case NodeKind::kTest: {
      const Value value = Eval(*node.kids[0], scope);
      Args args;
      if (!failed() && EvalArgs(node, scope, args)) {
        out = Value::Bool(CallTest(node.text, value, args));
      }
      break;
    }
    case NodeKind::kNot:
      out = Value::Bool(!Eval(*node.kids[0], scope).Truthy());
      break;
    case NodeKind::kNegative:
    case NodeKind::kPositive:
      out = EvalSign(node, scope);
      break;
    case NodeKind::kBinary: {
      const Value left = Eval(*node.kids[0], scope);
      const Value right = Eval(*node.kids[1], scope);
      if (!failed()) out = Binary(node.text, left, right);
      break;
    }
    case NodeKind::kAnd:
      out = Eval(*node.kids[0], scope);
      if (!failed() && out.Truthy()) out = Eval(*node.kids[1], scope);
      break;
    case NodeKind::kOr:
      out = Eval(*node.kids[0], scope);
      if (!failed() && !out.Truthy()) out = Eval(*node.kids[1], scope);
      break;
    case NodeKind::kConcat:
      out = EvalConcat(node, scope);
      break;
    case NodeKind::kCompare:
      out = EvalCompare(node, scope);
      break;
    case NodeKind::kConditional:
      if (Eval(*node.kids[0], scope).Truthy()) {
        out = Eval(*node.kids[1], scope);
      } else if (!failed() && node.kids[2] != nullptr) {
        out = Eval(*node.kids[2], scope);
      } else {
        out = Value::Undefined("the inline if-expression had no else branch");
      }
      break;
    default:
      FailWith(absl::StatusCode::kInternal, "a statement stands where an expression should");
      break;
  }
  --depth_;
  return failed() ? Value() : out;
}

Value Interpreter::EvalName(const Node& node, Scope& scope) {
  if (const Value* value = scope.Find(node.name)) return *value;
  if (const Function global = FindGlobal(node.text)) return MakeFunction(node.text, global);
  return Value::Undefined(fmt::format("'{}' is undefined", node.text));
}

Value Interpreter::EvalList(const Node& node, Scope& scope) {
  std::vector<Value> items;
  items.reserve(node.kids.size());
  for (const Node::Ptr& kid : node.kids) items.push_back(Eval(*kid, scope));
  if (!Charge(items.size() * sizeof(Value))) return {};
  return Checked(Value::List(std::move(items),
                             node.kind == NodeKind::kTuple ? ListForm::kTuple : ListForm::kList));
}

Value Interpreter::EvalDict(const Node& node, Scope& scope) {
  std::vector<std::pair<Value, Value>> items;
  for (size_t i = 0; i + 1 < node.kids.size(); i += 2) {
    Value key = Eval(*node.kids[i], scope);
    Value value = Eval(*node.kids[i + 1], scope);
    if (failed()) return {};
    if (!IsKey(key)) return Fail("a {} cannot be a key", key.TypeName());
    items.emplace_back(std::move(key), std::move(value));
  }
  if (!Charge(items.size() * 2 * sizeof(Value))) return {};
  return Checked(Value::Dict(std::move(items)));
}

Value Interpreter::EvalConcat(const Node& node, Scope& scope) {
  MarkedText out;
  for (const Node::Ptr& kid : node.kids) {
    const Value value = Eval(*kid, scope);
    if (failed()) return {};
    out.Append(value.Is(Kind::kString) ? value.text() : Text(value));
    if (out.bytes() > limits_.max_produced_bytes) break;
  }
  if (!Charge(out.bytes())) return {};
  return Value::String(std::move(out));
}

Value Interpreter::EvalCompare(const Node& node, Scope& scope) {
  Value left = Eval(*node.kids[0], scope);
  for (size_t i = 0; i < node.operators.size(); ++i) {
    Value right = Eval(*node.kids[i + 1], scope);
    if (failed()) return {};
    if (!CompareOnce(node.operators[i], left, right)) return Value::Bool(false);
    left = std::move(right);
  }
  return Value::Bool(true);
}

bool Interpreter::CompareOnce(const std::string& op, const Value& a, const Value& b) {
  if (op == "==") return Same(a, b);
  if (op == "!=") return !Same(a, b);
  if (op == "in") return Contains(b, a);
  if (op == "not in") return !Contains(b, a);
  const std::optional<int> order = Compare(a, b);
  if (!order) {
    const bool comparable = a.IsNumber() && b.IsNumber();  // one of them is not a number: NaN
    if (!comparable) {
      Fail("'{}' not supported between instances of '{}' and '{}'", op, a.TypeName(), b.TypeName());
    }
    return false;
  }
  if (op == "<") return *order < 0;
  if (op == "<=") return *order <= 0;
  if (op == ">") return *order > 0;
  return *order >= 0;
}

Value Interpreter::EvalSign(const Node& node, Scope& scope) {
  const Value value = Eval(*node.kids[0], scope);
  if (failed()) return {};
  const bool negative = node.kind == NodeKind::kNegative;
  if (value.IsIntegral()) {
    if (!negative) return Value::Int(value.int_value());
    return Binary("-", Value::Int(0), Value::Int(value.int_value()));
  }
  if (value.Is(Kind::kFloat)) {
    return Value::Float(negative ? -value.float_value() : value.float_value());
  }
  return Fail("bad operand type for unary {}: '{}'", negative ? "-" : "+", value.TypeName());
}

Value Interpreter::EvalSlice(const Node& node, Scope& scope) {
  const Value object = Eval(*node.kids[0], scope);
  Value bounds[3];
  for (size_t i = 0; i < 3; ++i) {
    bounds[i] = node.kids[i + 1] ? Eval(*node.kids[i + 1], scope) : Value::None();
  }
  if (failed()) return {};
  return Slice(object, bounds[0], bounds[1], bounds[2]);
}

bool Interpreter::EvalArgs(const Node& node, Scope& scope, Args& args) {
  for (size_t i = 1; i < node.kids.size(); ++i)
    args.positional.push_back(Eval(*node.kids[i], scope));
  for (const auto& [name, value] : node.named) args.named.emplace_back(name, Eval(*value, scope));
  if (node.star && !failed()) {
    const auto items = Iterate(Eval(*node.star, scope));
    if (!failed()) args.positional.insert(args.positional.end(), items->begin(), items->end());
  }
  if (node.star_star && !failed()) {
    const Value named = Eval(*node.star_star, scope);
    if (!failed() && !named.Is(Kind::kDict)) {
      Fail("the argument after ** must be a mapping, not {}", named.TypeName());
    }
    if (failed()) return false;
    args.unpacked_from = args.named.size();
    for (const auto& [key, value] : named.dict().items) {
      if (!key.Is(Kind::kString)) {
        Fail("the keys of the argument after ** must be strings");
        return false;
      }
      args.named.emplace_back(key.string(), value);
    }
  }
  if (failed()) return false;
  return Charge((args.positional.size() + args.named.size()) * sizeof(Value));
}

Value Interpreter::EvalCall(const Node& node, Scope& scope) {
  const Value callee = Eval(*node.kids[0], scope);
  Args args;
  if (failed() || !EvalArgs(node, scope, args)) return {};
  line_ = node.line;
  return Call(callee, args);
}

// `input` is the text of a filter block, which stands where the chain's first value is missing.
Value Interpreter::EvalFilter(const Node& node, const Value* input, Scope& scope) {
  Value value;
  if (node.kids[0] == nullptr) {
    if (input != nullptr) value = *input;
  } else if (input != nullptr && node.kids[0]->kind == NodeKind::kFilter) {
    value = EvalFilter(*node.kids[0], input, scope);
  } else {
    value = Eval(*node.kids[0], scope);
  }
  Args args;
  if (failed() || !EvalArgs(node, scope, args)) return {};
  line_ = node.line;
  return CallFilter(node.text, value, args);
}

Value Interpreter::CallFilter(const std::string& name, const Value& value, const Args& args) {
  const Function filter = FindFilter(name);
  if (filter == nullptr) return Fail("no filter named '{}'", name);
  if (++depth_ > 5 * limits_.max_depth) {  // map("map", ...) calls itself
    FailWith(absl::StatusCode::kResourceExhausted, "the template recurses too deep");
  }
  const bool markup = value.IsMarkup() && FilterKeepsMarkup(name);
  Value out = failed()
                  ? Value()
                  : Checked(filter(*this, value, markup ? EscapedArgs(*this, name, args) : args));
  if (markup && !failed()) out = AsMarkup(*this, out);
  --depth_;
  return out;
}

bool Interpreter::CallTest(const std::string& name, const Value& value, const Args& args) {
  const TestFunction test = FindTest(name);
  if (test == nullptr) {
    Fail("no test named '{}'", name);
    return false;
  }
  return test(*this, value, args);
}

}  // namespace weft::jinja
