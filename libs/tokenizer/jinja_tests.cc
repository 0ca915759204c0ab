// The tests behind `is`.
#include <cmath>

#include "libs/base/status.h"
#include "libs/tokenizer/jinja_interpreter.h"
#include "libs/tokenizer/unicode.h"

namespace weft::jinja {
namespace {

using Bound = std::vector<std::optional<Value>>;

bool Defined(Interpreter&, const Value& v, const Args&) { return !v.Is(Kind::kUndefined); }
bool Undefined(Interpreter&, const Value& v, const Args&) { return v.Is(Kind::kUndefined); }
bool None(Interpreter&, const Value& v, const Args&) { return v.Is(Kind::kNone); }
bool String(Interpreter&, const Value& v, const Args&) { return v.Is(Kind::kString); }
bool Mapping(Interpreter&, const Value& v, const Args&) { return v.Is(Kind::kDict); }
bool Number(Interpreter&, const Value& v, const Args&) { return v.IsNumber(); }
bool Integer(Interpreter&, const Value& v, const Args&) { return v.Is(Kind::kInt); }
bool Float(Interpreter&, const Value& v, const Args&) { return v.Is(Kind::kFloat); }
bool Boolean(Interpreter&, const Value& v, const Args&) { return v.Is(Kind::kBool); }
bool True(Interpreter&, const Value& v, const Args&) { return v.Is(Kind::kBool) && v.bool_value(); }
bool False(Interpreter&, const Value& v, const Args&) {
  return v.Is(Kind::kBool) && !v.bool_value();
}
bool Callable(Interpreter&, const Value& v, const Args&) { return v.Is(Kind::kFunction); }
// Undefined values count as both, as in jinja2.
bool Iterable(Interpreter&, const Value& v, const Args&) {
  return v.Is(Kind::kUndefined) || v.Is(Kind::kString) || v.Is(Kind::kList) || v.Is(Kind::kDict);
}
bool Sequence(Interpreter&, const Value& v, const Args&) {
  return v.Is(Kind::kUndefined) || v.Is(Kind::kString) || v.IsSequence() || v.Is(Kind::kDict);
}
bool LowerCase(Interpreter& in, const Value& v, const Args&) {
  const std::string text = in.Text(v).text();
  return unicode::Lower(text) == text && unicode::Upper(text) != text;
}
bool UpperCase(Interpreter& in, const Value& v, const Args&) {
  const std::string text = in.Text(v).text();
  return unicode::Upper(text) == text && unicode::Lower(text) != text;
}

bool OneArg(Interpreter& in, const Args& args, Value& out) {
  Bound bound;
  if (!in.Bind("a test", args, {"other"}, 1, bound)) return false;
  out = *bound[0];
  return true;
}

bool Remainder(Interpreter& in, const Value& v, const Value& by, int64_t wanted) {
  const Value rest = in.Binary("%", v, by);
  return !in.failed() && in.Same(rest, Value::Int(wanted));
}
bool Odd(Interpreter& in, const Value& v, const Args&) {
  return Remainder(in, v, Value::Int(2), 1);
}
bool Even(Interpreter& in, const Value& v, const Args&) {
  return Remainder(in, v, Value::Int(2), 0);
}
bool DivisibleBy(Interpreter& in, const Value& v, const Args& args) {
  Value by;
  return OneArg(in, args, by) && Remainder(in, v, by, 0);
}

bool EqualTo(Interpreter& in, const Value& v, const Args& args) {
  Value other;
  return OneArg(in, args, other) && in.Same(v, other);
}
bool NotEqualTo(Interpreter& in, const Value& v, const Args& args) {
  Value other;
  return OneArg(in, args, other) && !in.Same(v, other);
}
// The sign of the comparison, or 2 (failed) when the values do not compare.
int Compare(Interpreter& in, const Value& v, const Args& args) {
  Value other;
  if (!OneArg(in, args, other)) return 2;
  const auto order = in.Compare(v, other);
  if (!order) in.Fail("'{}' and '{}' do not compare", v.TypeName(), other.TypeName());
  return order.value_or(2);
}
bool Less(Interpreter& in, const Value& v, const Args& args) { return Compare(in, v, args) == -1; }
bool Greater(Interpreter& in, const Value& v, const Args& args) {
  return Compare(in, v, args) == 1;
}
bool LessEqual(Interpreter& in, const Value& v, const Args& args) {
  return Compare(in, v, args) <= 0;
}
bool GreaterEqual(Interpreter& in, const Value& v, const Args& args) {
  const int order = Compare(in, v, args);
  return order == 0 || order == 1;
}
bool In(Interpreter& in, const Value& v, const Args& args) {
  Value container;
  return OneArg(in, args, container) && in.Contains(container, v);
}
bool SameAs(Interpreter& in, const Value& v, const Args& args) {
  Value other;
  if (!OneArg(in, args, other)) return false;
  if (v.kind() != other.kind()) return false;
  if (v.object() != nullptr || other.object() != nullptr) return v.object() == other.object();
  return in.Same(v, other);
}

struct NamedTest {
  std::string_view name;
  TestFunction function;
};
constexpr NamedTest kTests[] = {
    {"boolean", Boolean},
    {"callable", Callable},
    {"defined", Defined},
    {"divisibleby", DivisibleBy},
    {"eq", EqualTo},
    {"equalto", EqualTo},
    {"even", Even},
    {"false", False},
    {"float", Float},
    {"ge", GreaterEqual},
    {"greaterthan", Greater},
    {"gt", Greater},
    {"in", In},
    {"integer", Integer},
    {"iterable", Iterable},
    {"le", LessEqual},
    {"lessthan", Less},
    {"lower", LowerCase},
    {"lt", Less},
    {"mapping", Mapping},
    {"ne", NotEqualTo},
    {"none", None},
    {"number", Number},
    {"odd", Odd},
    {"sameas", SameAs},
    {"sequence", Sequence},
    {"string", String},
    {"true", True},
    {"undefined", Undefined},
    {"upper", UpperCase},
    {"==", EqualTo},
    {"!=", NotEqualTo},
    {"<", Less},
    {"<=", LessEqual},
    {">", Greater},
    {">=", GreaterEqual},
};

}  // namespace

TestFunction FindTest(std::string_view name) {
  for (const NamedTest& test : kTests) {
    if (test.name == name) return test.function;
  }
  return nullptr;
}

}  // namespace weft::jinja
