#include "libs/tokenizer/jinja_parser.h"

#include <algorithm>
#include <utility>

#include "libs/base/status.h"

namespace weft::jinja {

bool Parser::Fail(uint32_t line, std::string message) {
  if (ok()) error_ = InvalidArgument("template line {}: {}", line, message);
  return false;
}

bool Parser::TooDeep() {
  if (nesting_ > max_depth_) Fail(Current().line, "the template nests too deep");
  return !ok();
}

// Operator chains make deep trees without nesting, so the trees have a bound of their own.
bool Parser::Add(Node& node, Ptr child) {
  if (child != nullptr) {
    node.depth = std::max(node.depth, child->depth + 1);
    if (node.depth > 4 * max_depth_) return Fail(node.line, "the expression nests too deep");
  }
  node.kids.push_back(std::move(child));
  return ok();
}

bool Parser::Adopt(Node& node, const Body& body) {
  for (const Ptr& child : body) node.depth = std::max(node.depth, child->depth + 1);
  if (node.depth > 4 * max_depth_) return Fail(node.line, "the template nests too deep");
  return ok();
}

uint32_t Parser::Symbol(const std::string& name) {
  const auto [it, is_new] =
      template_->symbols.emplace(name, static_cast<uint32_t>(template_->names.size()));
  if (is_new) template_->names.push_back(name);
  return it->second;
}

bool Parser::IsOp(std::string_view text) const {
  return Current().type == TokenType::kOperator && Current().text == text;
}
bool Parser::IsName(std::string_view text) const {
  return Current().type == TokenType::kName && Current().text == text;
}
bool Parser::SkipOp(std::string_view text) {
  if (!IsOp(text)) return false;
  Next();
  return true;
}
bool Parser::SkipName(std::string_view text) {
  if (!IsName(text)) return false;
  Next();
  return true;
}
bool Parser::ExpectOp(std::string_view text) {
  if (SkipOp(text)) return true;
  return Fail(Current().line, fmt::format("expected '{}', got {}", text, Describe(Current())));
}
bool Parser::ExpectType(TokenType type, std::string_view what) {
  if (Current().type == type) {
    Next();
    return true;
  }
  return Fail(Current().line, fmt::format("expected {}, got {}", what, Describe(Current())));
}

std::string Parser::Describe(const Token& token) const {
  switch (token.type) {
    case TokenType::kEnd:
      return "the end of the template";
    case TokenType::kData:
      return "text";
    case TokenType::kString:
      return "a string";
    default:
      return "'" + token.text.substr(0, 40) + "'";
  }
}

absl::StatusOr<std::shared_ptr<const Template>> Parser::Run() {
  template_->body = Statements({});
  if (!ok()) return error_;
  return std::shared_ptr<const Template>(template_);
}

// Up to a block tag named in `ends`, which is left with its name as the current token; without
// ends, up to the end of the template.
Parser::Body Parser::Statements(const std::vector<std::string_view>& ends) {
  Nest nest(*this);
  Body body;
  if (TooDeep()) return body;
  while (ok()) {
    const Token& token = Current();
    if (token.type == TokenType::kEnd) {
      if (!ends.empty()) {
        Fail(token.line, fmt::format("the template ends before '{}'", ends.back()));
      }
      break;
    }
    if (token.type == TokenType::kData) {
      Ptr node = Make(NodeKind::kText, token.line);
      node->text = token.text;
      body.push_back(std::move(node));
      Next();
    } else if (token.type == TokenType::kVarBegin) {
      Ptr node = Make(NodeKind::kOutput, token.line);
      Next();
      if (!Add(*node, TupleOf(false, true, false, "", false))) break;
      if (!ExpectType(TokenType::kVarEnd, "the end of '{{'")) break;
      body.push_back(std::move(node));
    } else if (token.type == TokenType::kBlockBegin) {
      Next();
      if (Current().type == TokenType::kName &&
          std::find(ends.begin(), ends.end(), Current().text) != ends.end()) {
        break;
      }
      Ptr node = Statement();
      if (node == nullptr) break;
      body.push_back(std::move(node));
      if (!ExpectType(TokenType::kBlockEnd, "the end of the tag '%}'")) break;
    } else {
      Fail(token.line, "unexpected " + Describe(token));
    }
  }
  return body;
}

Parser::Ptr Parser::Statement() {
  const uint32_t line = Current().line;
  if (Current().type != TokenType::kName) {
    Fail(line, "expected the name of a tag, got " + Describe(Current()));
    return nullptr;
  }
  const std::string tag = Current().text;
  Ptr node;
  if (tag == "if") {
    node = If();
  } else if (tag == "for") {
    node = For();
  } else if (tag == "set") {
    node = Set();
  } else if (tag == "macro") {
    node = Macro();
  } else if (tag == "call") {
    node = CallBlock();
  } else if (tag == "filter") {
    node = FilterBlock();
  } else if (tag == "with") {
    node = With();
  } else if (tag == "generation") {
    node = Generation();
  } else if (tag == "print") {
    Next();
    node = Make(NodeKind::kOutput, line);
    while (ok() && Current().type != TokenType::kBlockEnd) {
      if (!node->kids.empty() && !ExpectOp(",")) break;
      if (!Add(*node, Expression())) break;
    }
  } else if (tag == "break" || tag == "continue") {
    Next();
    if (loops_ == 0) Fail(line, "'" + tag + "' outside of a loop");
    node = Make(tag == "break" ? NodeKind::kBreak : NodeKind::kContinue, line);
  } else {
    Fail(line, "the tag '" + tag.substr(0, 40) + "' is not known or not supported");
  }
  return ok() ? std::move(node) : nullptr;
}

std::string_view Parser::BodyUntil(const std::vector<std::string_view>& ends, Body& body) {
  SkipOp(":");
  if (!ExpectType(TokenType::kBlockEnd, "the end of the tag '%}'")) return "";
  body = Statements(ends);
  if (!ok()) return "";
  const std::string_view found =
      *std::find(ends.begin(), ends.end(), std::string_view(Current().text));
  Next();
  return found;
}

bool Parser::FinishBody(std::string_view end, Body& body) { return BodyUntil({end}, body) == end; }

Parser::Ptr Parser::If() {
  Ptr node = Make(NodeKind::kIf, Current().line);
  while (true) {
    Next();  // if, elif
    Node::Branch branch;
    branch.condition = TupleOf(false, false, false, "", false);
    if (!ok()) return nullptr;
    node->depth = std::max(node->depth, branch.condition->depth + 1);
    const std::string_view end = BodyUntil({"elif", "else", "endif"}, branch.body);
    if (!Adopt(*node, branch.body)) return nullptr;
    node->branches.push_back(std::move(branch));
    if (end == "endif") return node;
    if (end == "else") {
      Node::Branch last;
      if (!FinishBody("endif", last.body) || !Adopt(*node, last.body)) return nullptr;
      node->branches.push_back(std::move(last));
      return node;
    }
    if (end.empty()) return nullptr;
    --at_;  // BodyUntil stepped over elif; the loop steps over it again
  }
}

Parser::Ptr Parser::For() {
  Ptr node = Make(NodeKind::kFor, Current().line);
  Next();
  if (!Add(*node, AssignTarget(true, "in", false))) return nullptr;
  if (!SkipName("in")) {
    Fail(Current().line, "expected 'in', got " + Describe(Current()));
    return nullptr;
  }
  if (!Add(*node, TupleOf(false, false, false, "recursive", false))) return nullptr;
  if (!Add(*node, SkipName("if") ? Expression() : nullptr)) return nullptr;
  if (IsName("recursive")) {
    Fail(Current().line, "recursive loops are not supported");
    return nullptr;
  }
  ++loops_;
  const std::string_view end = BodyUntil({"else", "endfor"}, node->body);
  --loops_;
  if (!Adopt(*node, node->body)) return nullptr;
  if (end == "else" && (!FinishBody("endfor", node->other) || !Adopt(*node, node->other))) {
    return nullptr;
  }
  return node;
}

Parser::Ptr Parser::Set() {
  const uint32_t line = Current().line;
  Next();
  Ptr target = AssignTarget(true, "", true);
  if (!ok()) return nullptr;
  if (SkipOp("=")) {
    Ptr node = Make(NodeKind::kSet, line);
    if (!Add(*node, std::move(target))) return nullptr;
    if (!Add(*node, TupleOf(false, true, false, "", false))) return nullptr;
    return node;
  }
  Ptr node = Make(NodeKind::kSetBlock, line);
  if (!Add(*node, std::move(target))) return nullptr;
  Ptr filter;
  while (ok() && SkipOp("|")) filter = Filter(std::move(filter));
  if (!ok() || !Add(*node, std::move(filter))) return nullptr;
  if (!FinishBody("endset", node->body) || !Adopt(*node, node->body)) return nullptr;
  return node;
}

// (a, b=1): the symbols go to `parameters`, the defaults of the last ones to `kids`.
bool Parser::Signature(Node& node) {
  if (!ExpectOp("(")) return false;
  bool defaults = false;
  while (ok() && !IsOp(")")) {
    if (!node.parameters.empty() && !ExpectOp(",")) return false;
    if (Current().type != TokenType::kName) {
      return Fail(Current().line, "expected a parameter, got " + Describe(Current()));
    }
    node.parameters.push_back(Symbol(Current().text));
    Next();
    if (SkipOp("=")) {
      defaults = true;
      if (!Add(node, Expression())) return false;
    } else if (defaults) {
      return Fail(Current().line, "a parameter without default follows one with a default");
    }
  }
  return ExpectOp(")");
}

Parser::Ptr Parser::Macro() {
  Ptr node = Make(NodeKind::kMacro, Current().line);
  Next();
  if (Current().type != TokenType::kName) {
    Fail(Current().line, "expected the name of the macro, got " + Describe(Current()));
    return nullptr;
  }
  node->text = Current().text;
  node->name = Symbol(node->text);
  Next();
  Node* const outer = std::exchange(macro_, node.get());
  const uint32_t loops = std::exchange(loops_, 0);
  const bool done = Signature(*node) && FinishBody("endmacro", node->body);
  macro_ = outer;
  loops_ = loops;
  return done && Adopt(*node, node->body) ? std::move(node) : nullptr;
}

Parser::Ptr Parser::CallBlock() {
  Ptr node = Make(NodeKind::kCallBlock, Current().line);
  node->text = "caller";
  Next();
  Ptr defaults = Make(NodeKind::kList, node->line);
  if (IsOp("(") && !Signature(*defaults)) return nullptr;
  Ptr call = Expression();
  if (!ok()) return nullptr;
  if (call->kind != NodeKind::kCall) {
    Fail(node->line, "expected a call");
    return nullptr;
  }
  node->parameters = std::move(defaults->parameters);
  if (!Add(*node, std::move(call))) return nullptr;
  for (Ptr& value : defaults->kids) {
    if (!Add(*node, std::move(value))) return nullptr;
  }
  const uint32_t loops = std::exchange(loops_, 0);
  const bool done = FinishBody("endcall", node->body);
  loops_ = loops;
  return done && Adopt(*node, node->body) ? std::move(node) : nullptr;
}

Parser::Ptr Parser::FilterBlock() {
  Ptr node = Make(NodeKind::kFilterBlock, Current().line);
  Next();
  Ptr filter = Filter(nullptr);
  while (ok() && SkipOp("|")) filter = Filter(std::move(filter));
  if (!ok() || !Add(*node, std::move(filter))) return nullptr;
  return FinishBody("endfilter", node->body) && Adopt(*node, node->body) ? std::move(node)
                                                                         : nullptr;
}

Parser::Ptr Parser::With() {
  Ptr node = Make(NodeKind::kWith, Current().line);
  Next();
  while (ok() && Current().type != TokenType::kBlockEnd) {
    if (!node->kids.empty() && !ExpectOp(",")) return nullptr;
    if (!Add(*node, AssignTarget(true, "", false)) || !ExpectOp("=")) return nullptr;
    if (!Add(*node, Expression())) return nullptr;
  }
  return FinishBody("endwith", node->body) && Adopt(*node, node->body) ? std::move(node) : nullptr;
}

// transformers marks the assistant's part with it; the text is what matters.
Parser::Ptr Parser::Generation() {
  Ptr node = Make(NodeKind::kScope, Current().line);
  Next();
  return FinishBody("endgeneration", node->body) && Adopt(*node, node->body) ? std::move(node)
                                                                             : nullptr;
}

absl::StatusOr<std::shared_ptr<const Template>> ParseTemplate(std::string_view source,
                                                              uint32_t max_depth) {
  WEFT_ASSIGN_OR_RETURN(std::vector<Token> tokens, Lex(source));
  return Parser(std::move(tokens), max_depth).Run();
}

}  // namespace weft::jinja
