// Python's two ways to format: "%s" % x, and "{}".format(x) without format specifications.
#include <algorithm>
#include <cmath>

#include "libs/base/status.h"
#include "libs/tokenizer/jinja_interpreter.h"
#include "libs/tokenizer/utf8.h"

namespace weft::jinja {
namespace {

constexpr int64_t kMaxWidth = 4096;

struct Spec {
  bool left = false;
  bool plus = false;
  bool space = false;
  bool zero = false;
  bool alternate = false;
  int64_t width = 0;
  int64_t precision = -1;
};

// How many characters `text` is short of the width.
size_t Missing(std::string_view text, const Spec& spec) {
  int64_t size = 0;
  for (size_t at = 0; at < text.size(); at += DecodeUtf8(text, at).length) ++size;
  return size >= spec.width ? 0 : static_cast<size_t>(spec.width - size);
}

MarkedText PadText(const MarkedText& text, const Spec& spec) {
  const std::string spaces(Missing(text.text(), spec), ' ');
  MarkedText out = MarkedText::Own(spec.left ? "" : spaces);
  out.Append(text);
  if (spec.left) out.AppendOwn(spaces);
  return out;
}

std::string PadNumber(std::string text, const Spec& spec) {
  const size_t missing = Missing(text, spec);
  if (missing == 0) return text;
  if (spec.left) return text + std::string(missing, ' ');
  if (spec.zero) {
    size_t digits = !text.empty() && (text[0] == '-' || text[0] == '+' || text[0] == ' ') ? 1 : 0;
    if (text.size() > digits + 1 && text[digits] == '0' &&
        (text[digits + 1] == 'x' || text[digits + 1] == 'X' || text[digits + 1] == 'o')) {
      digits += 2;
    }
    return text.insert(digits, missing, '0');
  }
  return std::string(missing, ' ') + text;
}

std::string Signed(bool negative, std::string digits, const Spec& spec) {
  return (negative ? "-" : spec.plus ? "+" : spec.space ? " " : "") + std::move(digits);
}

class PercentFormatter {
 public:
  PercentFormatter(Interpreter& in, const MarkedText& format, const Value& arguments)
      : in_(in), marked_(format), format_(format.text()), arguments_(arguments) {}

  Value Run() {
    MarkedText out;
    while (at_ < format_.size() && !in_.failed()) {
      const size_t percent = std::min(format_.find('%', at_), format_.size());
      out.AppendPart(marked_, at_, percent);
      at_ = percent;
      if (at_ == format_.size()) break;
      ++at_;
      out.Append(One());
      if (out.bytes() > in_.limits().max_output_bytes) in_.Charge(UINT64_MAX);
    }
    const bool all_used =
        !arguments_.IsList(ListForm::kTuple) || next_ == arguments_.items().size();
    const bool one_used = arguments_.IsList(ListForm::kTuple) || arguments_.Is(Kind::kDict) ||
                          arguments_.IsSequence() || next_ == 1;
    if (!in_.failed() && (!all_used || !one_used)) {
      return in_.Fail("not all arguments converted during string formatting");
    }
    return in_.Charge(out.bytes()) ? Value::String(std::move(out)) : Value();
  }

 private:
  Value NextArgument() {
    if (arguments_.IsList(ListForm::kTuple)) {
      if (next_ < arguments_.items().size()) return arguments_.items()[next_++];
    } else if (next_++ == 0) {
      return arguments_;
    }
    return in_.Fail("not enough arguments for format string");
  }

  int64_t Number() {
    if (at_ < format_.size() && format_[at_] == '*') {
      ++at_;
      const Value value = NextArgument();
      if (!in_.failed() && !value.Is(Kind::kInt)) in_.Fail("* wants int");
      return in_.failed() ? 0 : value.int_value();
    }
    int64_t out = 0;
    while (at_ < format_.size() && format_[at_] >= '0' && format_[at_] <= '9') {
      out = std::min<int64_t>(out * 10 + (format_[at_++] - '0'), kMaxWidth + 1);
    }
    return out;
  }

  MarkedText One() {
    std::optional<Value> named;
    if (at_ < format_.size() && format_[at_] == '(') {
      const size_t end = format_.find(')', at_);
      if (end == std::string::npos) return Plain(Error("incomplete format key"));
      if (!arguments_.Is(Kind::kDict)) return Plain(Error("format requires a mapping"));
      const Value* value =
          arguments_.dict().Find(std::string_view(format_).substr(at_ + 1, end - at_ - 1));
      if (value == nullptr) return Plain(Error("the format names a key that is missing"));
      named = *value;
      at_ = end + 1;
    }
    Spec spec;
    for (; at_ < format_.size(); ++at_) {
      const char c = format_[at_];
      if (c == '-')
        spec.left = true;
      else if (c == '+')
        spec.plus = true;
      else if (c == ' ')
        spec.space = true;
      else if (c == '0')
        spec.zero = true;
      else if (c == '#')
        spec.alternate = true;
      else
        break;
    }
    spec.width = Number();
    if (spec.width < 0) {
      spec.left = true;
      spec.width = spec.width < -kMaxWidth ? kMaxWidth + 1 : -spec.width;
    }
    if (at_ < format_.size() && format_[at_] == '.') {
      ++at_;
      spec.precision = std::max<int64_t>(Number(), 0);
    }
    if (spec.width > kMaxWidth || spec.precision > kMaxWidth)
      return Plain(Error("the width is too large"));
    while (at_ < format_.size() &&
           (format_[at_] == 'l' || format_[at_] == 'h' || format_[at_] == 'L')) {
      ++at_;
    }
    if (at_ >= format_.size()) return Plain(Error("incomplete format"));
    const char kind = format_[at_++];
    if (kind == '%') return PadText(Plain("%"), spec);
    const Value value = named ? *named : NextArgument();
    return in_.failed() ? MarkedText() : Convert(kind, value, spec);
  }

  // What the format and a number make: where the format is the caller's, this is too.
  MarkedText Plain(std::string text) const {
    return marked_.caller().empty() ? MarkedText::Own(std::move(text))
                                    : MarkedText::FromCaller(std::move(text));
  }

  MarkedText Convert(char kind, const Value& value, const Spec& spec) {
    switch (kind) {
      case 's':
      case 'r': {
        MarkedText text = kind == 's' ? in_.Text(value) : in_.ReprText(value);
        if (spec.precision >= 0) {
          size_t end = 0;
          for (int64_t i = 0; i < spec.precision && end < text.size(); ++i) {
            end += DecodeUtf8(text.text(), end).length;
          }
          text = text.Part(0, end);
        }
        return PadText(text, spec);
      }
      case 'd':
      case 'i':
      case 'u':
      case 'x':
      case 'X':
      case 'o':
        return Plain(Integer(kind, value, spec));
      case 'f':
      case 'F':
      case 'e':
      case 'E':
      case 'g':
      case 'G':
        return Plain(Floating(kind, value, spec));
      case 'c':
        if (value.Is(Kind::kString) && !value.string().empty() &&
            DecodeUtf8(value.string(), 0).length == value.string().size()) {
          return PadText(value.text(), spec);
        }
        if (value.IsIntegral() && value.int_value() >= 0 && value.int_value() < 0x110000) {
          // Where the number came from is not known: it may be the caller's character.
          std::string text;
          AppendUtf8(text, static_cast<uint32_t>(value.int_value()));
          return PadText(MarkedText::FromCaller(std::move(text)), spec);
        }
        return Plain(Error("%c requires int or char"));
      default:
        return Plain(Error("unsupported format character"));
    }
  }

  std::string Integer(char kind, const Value& value, const Spec& spec) {
    int64_t number = 0;
    if (value.IsIntegral()) {
      number = value.int_value();
    } else if (value.Is(Kind::kFloat) && std::fabs(value.float_value()) < 9e18 &&
               (kind == 'd' || kind == 'i' || kind == 'u')) {
      number = static_cast<int64_t>(value.float_value());
    } else {
      return Error("%d format: a real number is required");
    }
    const uint64_t magnitude =
        number < 0 ? ~static_cast<uint64_t>(number) + 1 : static_cast<uint64_t>(number);
    std::string digits = kind == 'x'   ? fmt::format("{:x}", magnitude)
                         : kind == 'X' ? fmt::format("{:X}", magnitude)
                         : kind == 'o' ? fmt::format("{:o}", magnitude)
                                       : fmt::format("{}", magnitude);
    if (spec.precision > static_cast<int64_t>(digits.size())) {
      digits.insert(0, static_cast<size_t>(spec.precision) - digits.size(), '0');
    }
    if (spec.alternate && kind == 'x') digits.insert(0, "0x");
    if (spec.alternate && kind == 'X') digits.insert(0, "0X");
    if (spec.alternate && kind == 'o') digits.insert(0, "0o");
    return PadNumber(Signed(number < 0, std::move(digits), spec), spec);
  }

  std::string Floating(char kind, const Value& value, const Spec& spec) {
    if (!value.IsNumber()) return Error("must be real number");
    const double number = value.float_value();
    const double magnitude = std::fabs(number);
    const int64_t precision = spec.precision < 0 ? 6 : spec.precision;
    std::string digits;
    if (!std::isfinite(number)) {
      digits = std::isnan(number) ? "nan" : "inf";
    } else if (kind == 'f' || kind == 'F') {
      digits = fmt::format("{:.{}f}", magnitude, precision);
    } else if (kind == 'e') {
      digits = fmt::format("{:.{}e}", magnitude, precision);
    } else if (kind == 'E') {
      digits = fmt::format("{:.{}E}", magnitude, precision);
    } else if (kind == 'g') {
      digits = fmt::format("{:.{}g}", magnitude, precision);
    } else {
      digits = fmt::format("{:.{}G}", magnitude, precision);
    }
    return PadNumber(Signed(std::signbit(number) && !std::isnan(number), std::move(digits), spec),
                     spec);
  }

  std::string Error(std::string_view message) {
    in_.Fail("{}", message);
    return {};
  }

  Interpreter& in_;
  const MarkedText& marked_;
  const std::string& format_;  // of marked_
  const Value& arguments_;
  size_t at_ = 0;
  size_t next_ = 0;
};

}  // namespace

Value FormatPercent(Interpreter& in, const MarkedText& format, const Value& arguments) {
  return PercentFormatter(in, format, arguments).Run();
}

Value FormatBraces(Interpreter& in, const MarkedText& marked, const Args& args) {
  const std::string& format = marked.text();
  MarkedText out;
  size_t next = 0;
  for (size_t at = 0; at < format.size() && !in.failed();) {
    const char c = format[at];
    if ((c == '{' || c == '}') && at + 1 < format.size() && format[at + 1] == c) {
      out.AppendPart(marked, at, at + 1);
      at += 2;
      continue;
    }
    if (c == '}') return in.Fail("Single '}}' encountered in format string");
    if (c != '{') {
      const size_t next_brace = std::min(format.find_first_of("{}", at), format.size());
      out.AppendPart(marked, at, next_brace);
      at = next_brace;
      continue;
    }
    const size_t end = format.find('}', at);
    if (end == std::string::npos) return in.Fail("Single '{{' encountered in format string");
    std::string name = format.substr(at + 1, end - at - 1);
    at = end + 1;
    bool repr = false;
    if (name.ends_with("!r") || name.ends_with("!s")) {
      repr = name.back() == 'r';
      name.resize(name.size() - 2);
    }
    if (name.find_first_of(":.[!{") != std::string::npos) {
      return in.Fail("format specifications are not supported in str.format");
    }
    const bool is_index =
        !name.empty() && name.size() < 6 &&
        std::all_of(name.begin(), name.end(), [](char d) { return d >= '0' && d <= '9'; });
    Value value;
    if (name.empty() || is_index) {
      const size_t index = name.empty() ? next++ : static_cast<size_t>(std::stoul(name));
      if (index >= args.positional.size()) {
        return in.Fail("Replacement index {} out of range for positional args tuple", index);
      }
      value = args.positional[index];
    } else {
      const auto it = std::find_if(args.named.begin(), args.named.end(),
                                   [&](const auto& item) { return item.first == name; });
      if (it == args.named.end()) return in.Fail("the format names '{}', which is missing", name);
      value = it->second;
    }
    out.Append(repr ? in.ReprText(value) : in.Text(value));
    if (out.bytes() > in.limits().max_produced_bytes) break;
  }
  return in.Charge(out.bytes()) ? Value::String(std::move(out)) : Value();
}

}  // namespace weft::jinja
