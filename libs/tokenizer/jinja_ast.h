// The syntax tree of a template, and the lexer's tokens that it is made from.
#pragma once

#include <absl/container/flat_hash_map.h>
#include <absl/status/statusor.h>

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "libs/tokenizer/jinja_value.h"

namespace weft::jinja {

enum class TokenType : uint8_t {
  kData,        // text between tags
  kVarBegin,    // {{
  kVarEnd,      // }}
  kBlockBegin,  // {%
  kBlockEnd,    // %}
  kName,
  kInteger,
  kFloat,
  kString,
  kOperator,  // text is the operator
  kEnd,
};

struct Token {
  TokenType type;
  uint32_t line;
  std::string text;
  int64_t integer = 0;
  double number = 0;
};

// The tokens of a template, kEnd last. White space control is already applied. An error is
// INVALID_ARGUMENT naming the line.
absl::StatusOr<std::vector<Token>> Lex(std::string_view source);

enum class NodeKind : uint8_t {
  // Expressions. `kids` in the order of the comment.
  kConst,        // value
  kName,         // name
  kList,         // items
  kTuple,        // items
  kDict,         // key, value, key, value ...
  kGetAttr,      // object; text
  kGetItem,      // object, index
  kSlice,        // object, start, stop, step; absent ones are null
  kCall,         // callee, positional ...; named; star, star_star
  kFilter,       // value (null in a filter block), positional ...; text; named; star, star_star
  kTest,         // value, positional ...; text; named; star, star_star
  kNot,          // x
  kNegative,     // x
  kPositive,     // x
  kBinary,       // left, right; text is the operator
  kAnd,          // left, right
  kOr,           // left, right
  kConcat,       // parts ...
  kCompare,      // first, then one for each of `operators`
  kConditional,  // condition, then, else (or null)
  // Statements.
  kText,         // text
  kOutput,       // expressions ...
  kIf,           // condition or null of each of `branches`
  kFor,          // target, iterable, condition or null; body; other
  kSet,          // target, value
  kSetBlock,     // target, filter or null; body
  kMacro,        // defaults of the last parameters; name; parameters; body
  kCallBlock,    // call; parameters; body (kids[1...] are the defaults)
  kFilterBlock,  // filter; body
  kWith,         // target, value, target, value ...; body
  kScope,        // body, nothing else: {% generation %}
  kBreak,
  kContinue,
  // Targets of assignment besides kName and kTuple.
  kNamespaceRef,  // name, text: the attribute
};

struct Node {
  Node(NodeKind k, uint32_t l) : kind(k), line(l) {}
  using Ptr = std::unique_ptr<Node>;
  struct Branch {
    Ptr condition;  // null: else
    std::vector<Ptr> body;
  };

  NodeKind kind;
  bool uses_varargs = false;  // kMacro
  bool uses_kwargs = false;
  uint32_t line;
  uint32_t depth = 1;
  uint32_t name = 0;  // symbol
  std::string text;
  Value value;
  std::vector<Ptr> kids;
  std::vector<std::pair<std::string, Ptr>> named;
  Ptr star;
  Ptr star_star;
  std::vector<std::string> operators;  // kCompare
  std::vector<uint32_t> parameters;    // symbols
  std::vector<Ptr> body;
  std::vector<Ptr> other;  // else of a loop
  std::vector<Branch> branches;
};

// A parsed template; immutable.
struct Template {
  std::vector<Node::Ptr> body;
  std::vector<std::string> names;                      // by symbol
  absl::flat_hash_map<std::string, uint32_t> symbols;  // by name
};

absl::StatusOr<std::shared_ptr<const Template>> ParseTemplate(std::string_view source,
                                                              uint32_t max_depth);

}  // namespace weft::jinja
