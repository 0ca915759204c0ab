// Recursive descent over the tokens; the grammar and its quirks are jinja2's.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "libs/tokenizer/jinja_ast.h"

namespace weft::jinja {

// Parses one template. After the first error every function returns null and the error stays.
class Parser {
 public:
  Parser(std::vector<Token> tokens, uint32_t max_depth)
      : tokens_(std::move(tokens)), max_depth_(max_depth) {}

  absl::StatusOr<std::shared_ptr<const Template>> Run();

 private:
  using Ptr = Node::Ptr;
  using Body = std::vector<Ptr>;
  // Counts nesting while it lives.
  class Nest {
   public:
    explicit Nest(Parser& parser) : parser_(parser) { ++parser_.nesting_; }
    ~Nest() { --parser_.nesting_; }
    Nest(const Nest&) = delete;
    Nest& operator=(const Nest&) = delete;

   private:
    Parser& parser_;
  };

  // jinja_parser.cc: statements.
  Body Statements(const std::vector<std::string_view>& ends);
  Ptr Statement();
  Ptr If();
  Ptr For();
  Ptr Set();
  Ptr Macro();
  Ptr CallBlock();
  Ptr FilterBlock();
  Ptr With();
  Ptr Generation();
  bool Signature(Node& node);
  // After the tag's content: %} body {% end %}. Returns which end came, "" on error.
  std::string_view BodyUntil(const std::vector<std::string_view>& ends, Body& body);
  bool FinishBody(std::string_view end, Body& body);

  // jinja_expressions.cc.
  Ptr Expression();
  Ptr Conditional();
  Ptr Or();
  Ptr And();
  Ptr Not();
  Ptr Compare();
  Ptr Sum();
  Ptr Concat();
  Ptr Product();
  Ptr Power();
  Ptr Unary(bool with_filter);
  Ptr Primary(bool with_namespace);
  Ptr TupleOf(bool simplified, bool with_conditional, bool explicit_parentheses,
              std::string_view extra_end, bool with_namespace);
  Ptr ListLiteral();
  Ptr DictLiteral();
  Ptr Postfix(Ptr node);
  Ptr FilterAndTests(Ptr node);
  Ptr Subscript(Ptr node);
  Ptr Subscribed();
  Ptr Call(Ptr node);
  Ptr Filter(Ptr node);
  Ptr Test(Ptr node);
  bool CallArguments(Node& node);
  Ptr AssignTarget(bool with_tuple, std::string_view extra_end, bool with_namespace);
  bool CanAssign(const Node& node);

  // Tokens.
  const Token& Current() const { return tokens_[at_]; }
  const Token& Ahead() const { return tokens_[std::min(at_ + 1, tokens_.size() - 1)]; }
  void Next() {
    if (at_ + 1 < tokens_.size()) ++at_;
  }
  bool IsOp(std::string_view text) const;
  bool IsName(std::string_view text) const;
  bool SkipOp(std::string_view text);
  bool SkipName(std::string_view text);
  bool ExpectOp(std::string_view text);
  bool ExpectType(TokenType type, std::string_view what);
  std::string Describe(const Token& token) const;

  // Nodes.
  Ptr Make(NodeKind kind, uint32_t line) { return std::make_unique<Node>(kind, line); }
  // Appends and keeps the depth; null children are allowed. Fails when it becomes too deep.
  bool Add(Node& node, Ptr child);
  bool Adopt(Node& node, const Body& body);
  uint32_t Symbol(const std::string& name);
  bool Fail(uint32_t line, std::string message);
  bool ok() const { return error_.ok(); }
  bool TooDeep();

  std::vector<Token> tokens_;
  size_t at_ = 0;
  uint32_t max_depth_;
  uint32_t nesting_ = 0;
  uint32_t loops_ = 0;  // around the current statement, in this macro
  Node* macro_ = nullptr;
  std::shared_ptr<Template> template_ = std::make_shared<Template>();
  absl::Status error_;
};

}  // namespace weft::jinja
