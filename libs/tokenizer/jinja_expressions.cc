// The expression half of the parser, one function a precedence level, lowest first.
#include <algorithm>

#include "libs/base/status.h"
#include "libs/tokenizer/jinja_parser.h"

namespace weft::jinja {

Parser::Ptr Parser::Expression() {
  Nest nest(*this);
  if (TooDeep()) return nullptr;
  return Conditional();
}

// a if b else c
Parser::Ptr Parser::Conditional() {
  Ptr left = Or();
  while (ok() && IsName("if")) {
    Ptr node = Make(NodeKind::kConditional, Current().line);
    Next();
    Ptr condition = Or();
    Ptr other = ok() && SkipName("else") ? Expression() : nullptr;
    if (!ok() || !Add(*node, std::move(condition)) || !Add(*node, std::move(left)) ||
        !Add(*node, std::move(other))) {
      return nullptr;
    }
    left = std::move(node);
  }
  return left;
}

Parser::Ptr Parser::Or() {
  Ptr left = And();
  while (ok() && IsName("or")) {
    Ptr node = Make(NodeKind::kOr, Current().line);
    Next();
    if (!Add(*node, std::move(left)) || !Add(*node, And())) return nullptr;
    left = std::move(node);
  }
  return left;
}

Parser::Ptr Parser::And() {
  Ptr left = Not();
  while (ok() && IsName("and")) {
    Ptr node = Make(NodeKind::kAnd, Current().line);
    Next();
    if (!Add(*node, std::move(left)) || !Add(*node, Not())) return nullptr;
    left = std::move(node);
  }
  return left;
}

Parser::Ptr Parser::Not() {
  if (!IsName("not")) return Compare();
  Nest nest(*this);
  if (TooDeep()) return nullptr;
  Ptr node = Make(NodeKind::kNot, Current().line);
  Next();
  return Add(*node, Not()) ? std::move(node) : nullptr;
}

Parser::Ptr Parser::Compare() {
  static constexpr std::string_view kOperators[] = {"==", "!=", ">", ">=", "<", "<="};
  Ptr left = Sum();
  Ptr node;
  while (ok()) {
    std::string op;
    if (Current().type == TokenType::kOperator &&
        std::find(std::begin(kOperators), std::end(kOperators), Current().text) !=
            std::end(kOperators)) {
      op = Current().text;
      Next();
    } else if (IsName("in")) {
      op = "in";
      Next();
    } else if (IsName("not") && Ahead().type == TokenType::kName && Ahead().text == "in") {
      op = "not in";
      Next();
      Next();
    } else {
      break;
    }
    if (node == nullptr) {
      node = Make(NodeKind::kCompare, Current().line);
      if (!Add(*node, std::move(left))) return nullptr;
    }
    node->operators.push_back(std::move(op));
    if (!Add(*node, Sum())) return nullptr;
  }
  return node != nullptr ? std::move(node) : std::move(left);
}

Parser::Ptr Parser::Sum() {
  Ptr left = Concat();
  while (ok() && (IsOp("+") || IsOp("-"))) {
    Ptr node = Make(NodeKind::kBinary, Current().line);
    node->text = Current().text;
    Next();
    if (!Add(*node, std::move(left)) || !Add(*node, Concat())) return nullptr;
    left = std::move(node);
  }
  return left;
}

Parser::Ptr Parser::Concat() {
  Ptr left = Product();
  if (!ok() || !IsOp("~")) return left;
  Ptr node = Make(NodeKind::kConcat, Current().line);
  if (!Add(*node, std::move(left))) return nullptr;
  while (ok() && SkipOp("~")) {
    if (!Add(*node, Product())) return nullptr;
  }
  return node;
}

Parser::Ptr Parser::Product() {
  Ptr left = Power();
  while (ok() && (IsOp("*") || IsOp("/") || IsOp("//") || IsOp("%"))) {
    Ptr node = Make(NodeKind::kBinary, Current().line);
    node->text = Current().text;
    Next();
    if (!Add(*node, std::move(left)) || !Add(*node, Power())) return nullptr;
    left = std::move(node);
  }
  return left;
}

// Groups from the left, unlike Python's.
Parser::Ptr Parser::Power() {
  Ptr left = Unary(true);
  while (ok() && IsOp("**")) {
    Ptr node = Make(NodeKind::kBinary, Current().line);
    node->text = "**";
    Next();
    if (!Add(*node, std::move(left)) || !Add(*node, Unary(true))) return nullptr;
    left = std::move(node);
  }
  return left;
}

Parser::Ptr Parser::Unary(bool with_filter) {
  Nest nest(*this);
  if (TooDeep()) return nullptr;
  Ptr node;
  if (IsOp("-") || IsOp("+")) {
    node = Make(IsOp("-") ? NodeKind::kNegative : NodeKind::kPositive, Current().line);
    Next();
    if (!Add(*node, Unary(false))) return nullptr;
  } else {
    node = Primary(false);
  }
  if (ok()) node = Postfix(std::move(node));
  if (ok() && with_filter) node = FilterAndTests(std::move(node));
  return ok() ? std::move(node) : nullptr;
}

Parser::Ptr Parser::Primary(bool with_namespace) {
  const Token token = Current();
  Ptr node = Make(NodeKind::kConst, token.line);
  switch (token.type) {
    case TokenType::kName:
      Next();
      if (token.text == "true" || token.text == "True") {
        node->value = Value::Bool(true);
      } else if (token.text == "false" || token.text == "False") {
        node->value = Value::Bool(false);
      } else if (token.text == "none" || token.text == "None") {
        node->value = Value::None();
      } else if (with_namespace && SkipOp(".")) {
        node->kind = NodeKind::kNamespaceRef;
        node->name = Symbol(token.text);
        node->text = Current().text;
        if (!ExpectType(TokenType::kName, "the name of an attribute")) return nullptr;
      } else {
        node->kind = NodeKind::kName;
        node->text = token.text;
        node->name = Symbol(token.text);
        if (macro_ != nullptr && token.text == "varargs") macro_->uses_varargs = true;
        if (macro_ != nullptr && token.text == "kwargs") macro_->uses_kwargs = true;
      }
      return node;
    case TokenType::kString: {
      std::string text;
      for (; Current().type == TokenType::kString; Next()) text += Current().text;
      node->value = Value::Own(std::move(text));
      return node;
    }
    case TokenType::kInteger:
      node->value = Value::Int(token.integer);
      Next();
      return node;
    case TokenType::kFloat:
      node->value = Value::Float(token.number);
      Next();
      return node;
    case TokenType::kOperator:
      if (token.text == "(") {
        Next();
        node = TupleOf(false, true, true, "", false);
        if (!ok() || !ExpectOp(")")) return nullptr;
        return node;
      }
      if (token.text == "[") return ListLiteral();
      if (token.text == "{") return DictLiteral();
      break;
    default:
      break;
  }
  Fail(token.line, "unexpected " + Describe(token));
  return nullptr;
}

// One expression, or several with commas between: a tuple.
Parser::Ptr Parser::TupleOf(bool simplified, bool with_conditional, bool explicit_parentheses,
                            std::string_view extra_end, bool with_namespace) {
  Nest nest(*this);
  if (TooDeep()) return nullptr;
  Ptr tuple = Make(NodeKind::kTuple, Current().line);
  bool is_tuple = false;
  while (ok()) {
    if (!tuple->kids.empty() && !ExpectOp(",")) return nullptr;
    const TokenType type = Current().type;
    if (type == TokenType::kVarEnd || type == TokenType::kBlockEnd || IsOp(")") ||
        (!extra_end.empty() && IsName(extra_end))) {
      break;
    }
    Ptr item = simplified ? Primary(with_namespace) : with_conditional ? Expression() : Or();
    if (!ok() || !Add(*tuple, std::move(item))) return nullptr;
    if (!IsOp(",")) break;
    is_tuple = true;
  }
  if (!ok()) return nullptr;
  if (!is_tuple) {
    if (!tuple->kids.empty()) return std::move(tuple->kids[0]);
    if (!explicit_parentheses) {
      Fail(Current().line, "expected an expression, got " + Describe(Current()));
      return nullptr;
    }
  }
  return tuple;
}

Parser::Ptr Parser::ListLiteral() {
  Ptr node = Make(NodeKind::kList, Current().line);
  Next();
  while (ok() && !IsOp("]")) {
    if (!node->kids.empty() && !ExpectOp(",")) return nullptr;
    if (IsOp("]")) break;
    if (!Add(*node, Expression())) return nullptr;
  }
  return ok() && ExpectOp("]") ? std::move(node) : nullptr;
}

Parser::Ptr Parser::DictLiteral() {
  Ptr node = Make(NodeKind::kDict, Current().line);
  Next();
  while (ok() && !IsOp("}")) {
    if (!node->kids.empty() && !ExpectOp(",")) return nullptr;
    if (IsOp("}")) break;
    if (!Add(*node, Expression()) || !ExpectOp(":") || !Add(*node, Expression())) return nullptr;
  }
  return ok() && ExpectOp("}") ? std::move(node) : nullptr;
}

Parser::Ptr Parser::Postfix(Ptr node) {
  while (ok()) {
    if (IsOp(".") || IsOp("[")) {
      node = Subscript(std::move(node));
    } else if (IsOp("(")) {
      node = Call(std::move(node));
    } else {
      return node;
    }
  }
  return nullptr;
}

Parser::Ptr Parser::FilterAndTests(Ptr node) {
  while (ok()) {
    if (SkipOp("|")) {
      node = Filter(std::move(node));
    } else if (IsName("is")) {
      node = Test(std::move(node));
    } else if (IsOp("(")) {
      node = Call(std::move(node));
    } else {
      return node;
    }
  }
  return nullptr;
}

Parser::Ptr Parser::Subscript(Ptr object) {
  const uint32_t line = Current().line;
  if (SkipOp(".")) {
    const Token token = Current();
    Next();
    if (token.type == TokenType::kName) {
      Ptr node = Make(NodeKind::kGetAttr, line);
      node->text = token.text;
      return Add(*node, std::move(object)) ? std::move(node) : nullptr;
    }
    if (token.type != TokenType::kInteger) {
      Fail(token.line, "expected a name or a number after '.', got " + Describe(token));
      return nullptr;
    }
    Ptr node = Make(NodeKind::kGetItem, line);
    Ptr index = Make(NodeKind::kConst, line);
    index->value = Value::Int(token.integer);
    return Add(*node, std::move(object)) && Add(*node, std::move(index)) ? std::move(node)
                                                                         : nullptr;
  }
  Next();  // [
  Ptr indices = Make(NodeKind::kTuple, line);
  while (ok() && !IsOp("]")) {
    if (!indices->kids.empty() && !ExpectOp(",")) return nullptr;
    if (!Add(*indices, Subscribed())) return nullptr;
  }
  if (!ok() || !ExpectOp("]")) return nullptr;
  Ptr index = indices->kids.size() == 1 ? std::move(indices->kids[0]) : std::move(indices);
  if (index->kind == NodeKind::kSlice) {
    index->kids[0] = std::move(object);
    index->depth = std::max(index->depth, index->kids[0]->depth + 1);
    if (index->depth > 4 * max_depth_) {
      Fail(line, "the expression nests too deep");
      return nullptr;
    }
    return index;
  }
  Ptr node = Make(NodeKind::kGetItem, line);
  return Add(*node, std::move(object)) && Add(*node, std::move(index)) ? std::move(node) : nullptr;
}

// An index, or a slice whose object is filled in by the caller.
Parser::Ptr Parser::Subscribed() {
  Ptr node = Make(NodeKind::kSlice, Current().line);
  Ptr start;
  if (!IsOp(":")) {
    start = Expression();
    if (!ok() || !IsOp(":")) return start;
  }
  Next();  // :
  if (!Add(*node, nullptr) || !Add(*node, std::move(start))) return nullptr;
  const auto at_end = [this] { return IsOp("]") || IsOp(","); };
  if (!Add(*node, IsOp(":") || at_end() ? nullptr : Expression())) return nullptr;
  if (!Add(*node, SkipOp(":") && !at_end() ? Expression() : nullptr)) return nullptr;
  return node;
}

Parser::Ptr Parser::Call(Ptr callee) {
  Ptr node = Make(NodeKind::kCall, Current().line);
  return Add(*node, std::move(callee)) && CallArguments(*node) ? std::move(node) : nullptr;
}

bool Parser::CallArguments(Node& node) {
  const uint32_t line = Current().line;
  if (!ExpectOp("(")) return false;
  bool first = true;
  const auto adopt = [&](Ptr value) {
    if (value != nullptr) node.depth = std::max(node.depth, value->depth + 1);
    return value;
  };
  while (ok() && !IsOp(")")) {
    if (!first) {
      if (!ExpectOp(",")) return false;
      if (IsOp(")")) break;
    }
    first = false;
    if (SkipOp("*")) {
      if (node.star || node.star_star) return Fail(line, "invalid syntax for a call");
      node.star = adopt(Expression());
    } else if (SkipOp("**")) {
      if (node.star_star) return Fail(line, "invalid syntax for a call");
      node.star_star = adopt(Expression());
    } else if (Current().type == TokenType::kName && Ahead().type == TokenType::kOperator &&
               Ahead().text == "=") {
      if (node.star_star) return Fail(line, "invalid syntax for a call");
      std::string name = Current().text;
      Next();
      Next();
      node.named.emplace_back(std::move(name), adopt(Expression()));
    } else {
      if (node.star || node.star_star || !node.named.empty()) {
        return Fail(line, "invalid syntax for a call");
      }
      if (!Add(node, Expression())) return false;
    }
  }
  if (node.depth > 4 * max_depth_) return Fail(line, "the expression nests too deep");
  return ok() && ExpectOp(")");
}

// The name after '|' and its arguments; `node` is the value, null in a filter block.
Parser::Ptr Parser::Filter(Ptr value) {
  Ptr node = Make(NodeKind::kFilter, Current().line);
  node->text = Current().text;
  if (!ExpectType(TokenType::kName, "the name of a filter")) return nullptr;
  if (!Add(*node, std::move(value))) return nullptr;
  if (IsOp("(") && !CallArguments(*node)) return nullptr;
  return node;
}

Parser::Ptr Parser::Test(Ptr value) {
  const uint32_t line = Current().line;
  Next();  // is
  const bool negated = SkipName("not");
  Ptr node = Make(NodeKind::kTest, line);
  node->text = Current().text;
  if (!ExpectType(TokenType::kName, "the name of a test")) return nullptr;
  if (!Add(*node, std::move(value))) return nullptr;
  const Token& token = Current();
  if (IsOp("(")) {
    if (!CallArguments(*node)) return nullptr;
  } else if ((token.type == TokenType::kName && token.text != "else" && token.text != "or" &&
              token.text != "and") ||
             token.type == TokenType::kString || token.type == TokenType::kInteger ||
             token.type == TokenType::kFloat || IsOp("[") || IsOp("{")) {
    if (IsName("is")) {
      Fail(token.line, "tests cannot be chained with 'is'");
      return nullptr;
    }
    Ptr argument = Primary(false);
    if (ok()) argument = Postfix(std::move(argument));
    if (!ok() || !Add(*node, std::move(argument))) return nullptr;
  }
  if (!negated) return node;
  Ptr inverse = Make(NodeKind::kNot, line);
  return Add(*inverse, std::move(node)) ? std::move(inverse) : nullptr;
}

bool Parser::CanAssign(const Node& node) {
  switch (node.kind) {
    case NodeKind::kName:
    case NodeKind::kNamespaceRef:
      return true;
    case NodeKind::kTuple:
      return std::all_of(node.kids.begin(), node.kids.end(),
                         [this](const Ptr& kid) { return CanAssign(*kid); });
    default:
      return false;
  }
}

Parser::Ptr Parser::AssignTarget(bool with_tuple, std::string_view extra_end, bool with_namespace) {
  const uint32_t line = Current().line;
  Ptr target =
      with_tuple ? TupleOf(true, true, false, extra_end, with_namespace) : Primary(with_namespace);
  if (ok() && !CanAssign(*target)) Fail(line, "this cannot be assigned to");
  return ok() ? std::move(target) : nullptr;
}

}  // namespace weft::jinja
