// Text to tokens, with the white space rules of jinja2 under trim_blocks and lstrip_blocks: the
// newline after a block tag goes, and so does the space before one that begins its line.
#include <algorithm>
#include <charconv>
#include <cmath>

#include "libs/base/status.h"
#include "libs/tokenizer/jinja_ast.h"
#include "libs/tokenizer/unicode.h"
#include "libs/tokenizer/utf8.h"

namespace weft::jinja {
namespace {

constexpr size_t kNone = std::string_view::npos;

bool IsDigit(char c) { return c >= '0' && c <= '9'; }
bool IsNameStart(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' ||
         static_cast<uint8_t>(c) >= 0x80;
}
bool IsNameChar(char c) { return IsNameStart(c) || IsDigit(c); }

// jinja2 splits lines at \r\n, \r and \n and drops one trailing newline.
std::string NormalizeNewlines(std::string_view source) {
  std::string out;
  out.reserve(source.size());
  for (size_t i = 0; i < source.size(); ++i) {
    if (source[i] == '\r') {
      out += '\n';
      if (i + 1 < source.size() && source[i + 1] == '\n') ++i;
    } else {
      out += source[i];
    }
  }
  if (!out.empty() && out.back() == '\n') out.pop_back();
  return out;
}

class Lexer {
 public:
  explicit Lexer(std::string_view source) : source_(NormalizeNewlines(source)), text_(source_) {}

  absl::StatusOr<std::vector<Token>> Run() {
    while (at_ < text_.size()) {
      WEFT_RETURN_IF_ERROR(NextTag());
    }
    Push(TokenType::kEnd, "");
    return std::move(tokens_);
  }

 private:
  template <typename... Args>
  absl::Status Fail(fmt::format_string<Args...> format, Args&&... args) const {
    return InvalidArgument("template line {}: {}", line_,
                           fmt::format(format, std::forward<Args>(args)...));
  }

  void Push(TokenType type, std::string text) {
    tokens_.push_back({type, line_, std::move(text), 0, 0});
  }

  // Moves on to `to` and counts the lines.
  void Advance(size_t to) {
    line_ += static_cast<uint32_t>(std::count(text_.begin() + static_cast<ptrdiff_t>(at_),
                                              text_.begin() + static_cast<ptrdiff_t>(to), '\n'));
    at_ = to;
  }

  size_t SkipSpace(size_t at) const {
    while (at < text_.size()) {
      const Utf8Char c = DecodeUtf8(text_, at);
      if (!unicode::Is(c.code_point, unicode::kPythonSpace)) break;
      at += c.length;
    }
    return at;
  }

  size_t StripRight(size_t begin, size_t end) const {
    while (end > begin) {
      size_t last = end - 1;
      while (last > begin && (static_cast<uint8_t>(text_[last]) & 0xC0) == 0x80) --last;
      const Utf8Char c = DecodeUtf8(text_.substr(0, end), last);
      if (c.length != end - last || !unicode::Is(c.code_point, unicode::kPythonSpace)) break;
      end = last;
    }
    return end;
  }

  // The text from at_ to the tag at `tag`, less what the tag's sign or lstrip_blocks takes.
  void PushData(size_t tag, char sign, bool is_variable) {
    size_t end = tag;
    if (sign == '-') {
      end = StripRight(at_, tag);
    } else if (sign != '+' && !is_variable) {
      const size_t newline = tag == at_ ? kNone : text_.substr(at_, tag - at_).rfind('\n');
      const size_t line_begin = newline == kNone ? at_ : at_ + newline + 1;
      if ((newline != kNone || line_starting_) && SkipSpace(line_begin) >= tag) end = line_begin;
    }
    if (end > at_) Push(TokenType::kData, std::string(text_.substr(at_, end - at_)));
    Advance(tag);
  }

  char SignAt(size_t at) const {
    return at < text_.size() && (text_[at] == '-' || text_[at] == '+') ? text_[at] : '\0';
  }

  // The end of a tag's end (%} or #} with its sign) at `at`, with the space that goes with it;
  // kNone when there is none.
  size_t EndOfTag(size_t at, std::string_view mark, bool trims_newline) const {
    const char sign = SignAt(at);
    const size_t mark_at = sign != '\0' ? at + 1 : at;
    if (text_.substr(mark_at, mark.size()) != mark) return kNone;
    const size_t end = mark_at + mark.size();
    if (sign == '-') return SkipSpace(end);
    if (sign == '+') return trims_newline ? end : kNone;  // +}} is no tag end
    return trims_newline && end < text_.size() && text_[end] == '\n' ? end + 1 : end;
  }

  void FinishTag(size_t end) {
    Advance(end);
    line_starting_ = end > 0 && text_[end - 1] == '\n';
  }

  absl::Status NextTag() {
    size_t tag = at_;
    for (;; ++tag) {
      tag = text_.find('{', tag);
      if (tag == kNone || tag + 1 >= text_.size()) {
        Push(TokenType::kData, std::string(text_.substr(at_)));
        Advance(text_.size());
        return absl::OkStatus();
      }
      const char next = text_[tag + 1];
      if (next == '{' || next == '%' || next == '#') break;
    }
    const char sign = SignAt(tag + 2);
    const size_t inside = tag + 2 + (sign != '\0' ? 1 : 0);
    switch (text_[tag + 1]) {
      case '#':
        PushData(tag, sign, false);
        return Comment(inside);
      case '{':
        PushData(tag, sign, true);
        Push(TokenType::kVarBegin, "{{");
        Advance(inside);
        return Tag(TokenType::kVarEnd);
      default:
        PushData(tag, sign, false);
        if (const size_t raw = RawBegin(inside); raw != kNone) return Raw(raw);
        Push(TokenType::kBlockBegin, "{%");
        Advance(inside);
        return Tag(TokenType::kBlockEnd);
    }
  }

  absl::Status Comment(size_t inside) {
    for (size_t at = inside;; ++at) {
      at = text_.find('#', at);
      if (at == kNone) return Fail("the comment has no end");
      if (text_.substr(at, 2) != "#}") continue;
      const size_t sign_at = at > inside && SignAt(at - 1) != '\0' ? at - 1 : at;
      FinishTag(EndOfTag(sign_at, "#}", true));
      return absl::OkStatus();
    }
  }

  // The end of `raw %}` at `at`, or kNone.
  size_t RawBegin(size_t at) const {
    at = SkipSpace(at);
    if (text_.substr(at, 3) != "raw") return kNone;
    at = SkipSpace(at + 3);
    if (SignAt(at) == '+') return kNone;
    const bool strips = SignAt(at) == '-';
    if (strips) ++at;
    if (text_.substr(at, 2) != "%}") return kNone;
    return strips ? SkipSpace(at + 2) : at + 2;
  }

  absl::Status Raw(size_t begin) {
    FinishTag(begin);
    for (size_t tag = at_;; ++tag) {
      tag = text_.find("{%", tag);
      if (tag == kNone) return Fail("{{% raw %}} has no {{% endraw %}}");
      const char sign = SignAt(tag + 2);
      const size_t word = SkipSpace(tag + 2 + (sign != '\0' ? 1 : 0));
      if (text_.substr(word, 6) != "endraw") continue;
      const size_t end = EndOfTag(SkipSpace(word + 6), "%}", true);
      if (end == kNone) continue;
      PushData(tag, sign, false);
      FinishTag(end);
      return absl::OkStatus();
    }
  }

  // The tokens up to the end of the tag.
  absl::Status Tag(TokenType closing) {
    const bool is_block = closing == TokenType::kBlockEnd;
    std::string open;  // brackets: a tag cannot end inside them
    while (true) {
      if (at_ >= text_.size()) return Fail("the tag has no end");
      if (open.empty()) {
        const size_t end = EndOfTag(at_, is_block ? "%}" : "}}", is_block);
        if (end != kNone) {
          Push(closing, is_block ? "%}" : "}}");
          FinishTag(end);
          return absl::OkStatus();
        }
      }
      const size_t after_space = SkipSpace(at_);
      if (after_space != at_) {
        Advance(after_space);
        continue;
      }
      const char c = text_[at_];
      if (IsDigit(c)) {
        WEFT_RETURN_IF_ERROR(Number());
      } else if (IsNameStart(c)) {
        size_t end = at_;
        while (end < text_.size() && IsNameChar(text_[end])) ++end;
        Push(TokenType::kName, std::string(text_.substr(at_, end - at_)));
        Advance(end);
      } else if (c == '\'' || c == '"') {
        WEFT_RETURN_IF_ERROR(Text(c));
      } else {
        WEFT_RETURN_IF_ERROR(Operator(open));
      }
    }
  }

  size_t Digits(size_t at) const {
    while (at < text_.size() && (IsDigit(text_[at]) || (text_[at] == '_' && at + 1 < text_.size() &&
                                                        IsDigit(text_[at + 1])))) {
      ++at;
    }
    return at;
  }

  absl::Status Number() {
    static constexpr std::string_view kPrefixes = "bBoOxX";
    Token token{TokenType::kInteger, line_, "", 0, 0};
    int base = 10;
    size_t end = at_;
    if (text_[at_] == '0' && at_ + 1 < text_.size() && kPrefixes.find(text_[at_ + 1]) != kNone) {
      const char prefix = static_cast<char>(text_[at_ + 1] | 0x20);
      base = prefix == 'b' ? 2 : prefix == 'o' ? 8 : 16;
      end = at_ + 2;
      while (end < text_.size() && (IsNameChar(text_[end]))) ++end;
      token.text = std::string(text_.substr(at_ + 2, end - at_ - 2));
    } else {
      end = Digits(at_);
      bool is_float = false;
      const bool after_dot = at_ > 0 && text_[at_ - 1] == '.';
      if (!after_dot && end + 1 < text_.size() && text_[end] == '.' && IsDigit(text_[end + 1])) {
        is_float = true;
        end = Digits(end + 1);
      }
      if (!after_dot && end < text_.size() && (text_[end] | 0x20) == 'e') {
        size_t exponent = end + 1;
        if (exponent < text_.size() && (text_[exponent] == '+' || text_[exponent] == '-')) {
          ++exponent;
        }
        if (exponent < text_.size() && IsDigit(text_[exponent])) {
          is_float = true;
          end = Digits(exponent);
        }
      }
      token.text = std::string(text_.substr(at_, end - at_));
      if (is_float) token.type = TokenType::kFloat;
    }
    std::erase(token.text, '_');
    const char* begin = token.text.data();
    const char* stop = begin + token.text.size();
    if (token.type == TokenType::kFloat) {
      token.number = std::strtod(token.text.c_str(), nullptr);
    } else {
      const auto [rest, error] = std::from_chars(begin, stop, token.integer, base);
      if (error != std::errc() || rest != stop) {
        return Fail("'{}' is not an integer of 64 bits", token.text);
      }
      if (base == 10 && token.text.size() > 1 && token.text[0] == '0' && token.integer != 0) {
        return Fail("'{}' begins with a zero", token.text);
      }
    }
    tokens_.push_back(std::move(token));
    Advance(end);
    return absl::OkStatus();
  }

  absl::Status Text(char quote) {
    std::string out;
    size_t at = at_ + 1;
    while (at < text_.size() && text_[at] != quote) {
      if (text_[at] != '\\') {
        out += text_[at++];
        continue;
      }
      if (at + 1 >= text_.size()) break;
      WEFT_RETURN_IF_ERROR(Escape(at, out));
    }
    if (at >= text_.size()) return Fail("the string has no end");
    Push(TokenType::kString, std::move(out));
    Advance(at + 1);
    return absl::OkStatus();
  }

  // Python's escapes; an unknown one keeps its backslash.
  absl::Status Escape(size_t& at, std::string& out) const {
    static constexpr std::string_view kLetters = "abfnrtv\\'\"";
    static constexpr std::string_view kMeanings = "\a\b\f\n\r\t\v\\'\"";
    const char c = text_[at + 1];
    at += 2;
    if (const size_t i = kLetters.find(c); i != kNone) {
      out += kMeanings[i];
      return absl::OkStatus();
    }
    if (c == '\n') return absl::OkStatus();
    if (c >= '0' && c <= '7') {
      uint32_t code = static_cast<uint32_t>(c - '0');
      for (int i = 0; i < 2 && at < text_.size() && text_[at] >= '0' && text_[at] <= '7'; ++i) {
        code = code * 8 + static_cast<uint32_t>(text_[at++] - '0');
      }
      AppendUtf8(out, code);
      return absl::OkStatus();
    }
    const size_t digits = c == 'x' ? 2 : c == 'u' ? 4 : c == 'U' ? 8 : 0;
    if (digits == 0) {
      out += '\\';
      --at;  // the character itself, however many bytes it has
      return absl::OkStatus();
    }
    uint32_t code = 0;
    const std::string_view hex = std::string_view(text_).substr(at, digits);
    const auto [rest, error] = std::from_chars(hex.data(), hex.data() + hex.size(), code, 16);
    if (error != std::errc() || rest != hex.data() + digits || hex.size() != digits ||
        code > 0x10FFFF || (code >= 0xD800 && code < 0xE000)) {
      return Fail("the escape \\{}{} is not a character", c, hex);
    }
    AppendUtf8(out, code);
    at += digits;
    return absl::OkStatus();
  }

  absl::Status Operator(std::string& open) {
    static constexpr std::string_view kTwo[] = {"//", "**", "==", "!=", ">=", "<="};
    static constexpr std::string_view kOne = "+-/*%~[](){}><=.:|,;";
    for (const std::string_view two : kTwo) {
      if (text_.substr(at_, 2) == two) {
        Push(TokenType::kOperator, std::string(two));
        Advance(at_ + 2);
        return absl::OkStatus();
      }
    }
    const char c = text_[at_];
    if (kOne.find(c) == kNone) {
      return Fail("unexpected character '{}'", (c >= 0x20 && c < 0x7f) ? c : '?');
    }
    if (c == '(' || c == '[' || c == '{') {
      open += c == '(' ? ')' : c == '[' ? ']' : '}';
    } else if (c == ')' || c == ']' || c == '}') {
      if (open.empty() || open.back() != c) return Fail("unexpected '{}'", c);
      open.pop_back();
    }
    Push(TokenType::kOperator, std::string(1, c));
    Advance(at_ + 1);
    return absl::OkStatus();
  }

  const std::string source_;
  const std::string_view text_;
  size_t at_ = 0;
  uint32_t line_ = 1;
  bool line_starting_ = true;
  std::vector<Token> tokens_;
};

}  // namespace

absl::StatusOr<std::vector<Token>> Lex(std::string_view source) { return Lexer(source).Run(); }

}  // namespace weft::jinja
