// Values as text: Python's str and repr, and JSON.
#include <algorithm>
#include <cmath>

#include "libs/base/status.h"
#include "libs/tokenizer/jinja_value.h"
#include "libs/tokenizer/unicode.h"
#include "libs/tokenizer/utf8.h"

namespace weft::jinja {
namespace {

// Text that stops growing soon after `max`.
struct Bounded {
  MarkedText text;
  uint64_t max;
  bool full() const { return text.bytes() > max; }
};

void AppendRepr(Bounded& bounded, const Value& value);

std::string Escaped(std::string_view text, char quote) {
  std::string out;
  for (size_t at = 0; at < text.size();) {
    const Utf8Char c = DecodeUtf8(text, at);
    const std::string_view raw = text.substr(at, c.length);
    at += c.length;
    if (c.code_point == Utf8Char::kInvalid) {
      out += fmt::format("\\x{:02x}", static_cast<uint8_t>(raw[0]));
    } else if (c.code_point == static_cast<uint8_t>(quote) || c.code_point == '\\') {
      out += '\\';
      out += raw;
    } else if (c.code_point == '\n') {
      out += "\\n";
    } else if (c.code_point == '\r') {
      out += "\\r";
    } else if (c.code_point == '\t') {
      out += "\\t";
    } else if (unicode::Is(c.code_point, unicode::kPrintable)) {
      out += raw;
    } else if (c.code_point < 0x100) {
      out += fmt::format("\\x{:02x}", c.code_point);
    } else if (c.code_point < 0x10000) {
      out += fmt::format("\\u{:04x}", c.code_point);
    } else {
      out += fmt::format("\\U{:08x}", c.code_point);
    }
  }
  return out;
}

void AppendStringRepr(MarkedText& out, const MarkedText& text) {
  const bool single = text.text().find('\'') == std::string::npos;
  const char quote = single || text.text().find('"') != std::string::npos ? '\'' : '"';
  out.AppendOwn({&quote, 1});
  out.Append(text.Map([&](std::string_view run) { return Escaped(run, quote); }));
  out.AppendOwn({&quote, 1});
}

void AppendListRepr(Bounded& bounded, const Value& value) {
  MarkedText& out = bounded.text;
  const bool tuple = value.form() == ListForm::kTuple;
  if (value.form() == ListForm::kView) out.AppendOwn("dict_view(");
  out.AppendOwn(tuple ? "(" : "[");
  bool first = true;
  for (const Value& item : value.items()) {
    if (bounded.full()) return;
    if (!first) out.AppendOwn(", ");
    first = false;
    AppendRepr(bounded, item);
  }
  if (tuple && value.items().size() == 1) out.AppendOwn(",");
  out.AppendOwn(tuple ? ")" : "]");
  if (value.form() == ListForm::kView) out.AppendOwn(")");
}

void AppendRepr(Bounded& bounded, const Value& value) {
  MarkedText& out = bounded.text;
  switch (value.kind()) {
    case Kind::kUndefined:
      out.AppendOwn("Undefined");
      return;
    case Kind::kNone:
      out.AppendOwn("None");
      return;
    case Kind::kBool:
      out.AppendOwn(value.bool_value() ? "True" : "False");
      return;
    case Kind::kInt:
      out.AppendOwn(fmt::format("{}", value.int_value()));
      return;
    case Kind::kFloat:
      out.AppendOwn(FloatRepr(value.float_value()));
      return;
    case Kind::kString:
      if (value.IsMarkup()) out.AppendOwn("Markup(");
      AppendStringRepr(out, value.text());
      if (value.IsMarkup()) out.AppendOwn(")");
      return;
    case Kind::kList:
      AppendListRepr(bounded, value);
      return;
    case Kind::kDict: {
      out.AppendOwn("{");
      bool first = true;
      for (const auto& [key, item] : value.dict().items) {
        if (bounded.full()) return;
        if (!first) out.AppendOwn(", ");
        first = false;
        AppendRepr(bounded, key);
        out.AppendOwn(": ");
        AppendRepr(bounded, item);
      }
      out.AppendOwn("}");
      return;
    }
    case Kind::kNamespace:
      out.AppendOwn("<Namespace>");
      return;
    case Kind::kLoop:
      out.AppendOwn(
          fmt::format("<LoopContext {}/{}>", value.loop().index0 + 1, value.loop().items->size()));
      return;
    case Kind::kFunction:
      out.AppendOwn(fmt::format("<function {}>", value.function().name));
      return;
  }
}

std::string JsonEscaped(std::string_view text, bool ensure_ascii) {
  std::string out;
  for (size_t at = 0; at < text.size();) {
    const auto byte = static_cast<uint8_t>(text[at]);
    if (byte >= 0x80 && ensure_ascii) {
      const Utf8Char c = DecodeUtf8(text, at);
      at += c.length;
      const uint32_t code = c.code_point == Utf8Char::kInvalid ? 0xFFFD : c.code_point;
      if (code < 0x10000) {
        out += fmt::format("\\u{:04x}", code);
      } else {
        out += fmt::format("\\u{:04x}\\u{:04x}", 0xD800 + ((code - 0x10000) >> 10),
                           0xDC00 + ((code - 0x10000) & 0x3FF));
      }
      continue;
    }
    ++at;
    switch (byte) {
      case '"':
        out += "\\\"";
        break;
      case '\\':
        out += "\\\\";
        break;
      case '\n':
        out += "\\n";
        break;
      case '\r':
        out += "\\r";
        break;
      case '\t':
        out += "\\t";
        break;
      case '\b':
        out += "\\b";
        break;
      case '\f':
        out += "\\f";
        break;
      default:
        if (byte < 0x20) {
          out += fmt::format("\\u{:04x}", byte);
        } else {
          out += static_cast<char>(byte);
        }
    }
  }
  return out;
}

void AppendJsonString(MarkedText& out, const MarkedText& text, bool ensure_ascii) {
  out.AppendOwn("\"");
  out.Append(text.Map([&](std::string_view run) { return JsonEscaped(run, ensure_ascii); }));
  out.AppendOwn("\"");
}

std::string JsonFloat(double value) {
  if (std::isnan(value)) return "NaN";
  if (std::isinf(value)) return value > 0 ? "Infinity" : "-Infinity";
  return FloatRepr(value);
}

class JsonWriter {
 public:
  JsonWriter(const JsonStyle& style, MarkedText& out, std::string& what)
      : style_(style), out_(out), what_(what) {}

  bool Write(const Value& value) {
    if (out_.bytes() > style_.max_bytes) return true;
    switch (value.kind()) {
      case Kind::kNone:
        out_.AppendOwn("null");
        return true;
      case Kind::kBool:
        out_.AppendOwn(value.bool_value() ? "true" : "false");
        return true;
      case Kind::kInt:
        out_.AppendOwn(fmt::format("{}", value.int_value()));
        return true;
      case Kind::kFloat:
        out_.AppendOwn(JsonFloat(value.float_value()));
        return true;
      case Kind::kString:
        AppendJsonString(out_, value.text(), style_.ensure_ascii);
        return true;
      case Kind::kList:
        if (value.IsSequence()) return WriteList(value.items());
        break;
      case Kind::kDict:
        return WriteDict(value.dict());
      default:
        break;
    }
    what_ = std::string(value.TypeName());
    return false;
  }

 private:
  bool WriteList(const std::vector<Value>& items) {
    if (items.empty()) {
      out_.AppendOwn("[]");
      return true;
    }
    out_.AppendOwn("[");
    ++level_;
    bool first = true;
    for (const Value& item : items) {
      if (out_.bytes() > style_.max_bytes) break;
      Separate(first);
      if (!Write(item)) return false;
    }
    Close("]");
    return true;
  }

  bool WriteDict(const DictObject& dict) {
    if (dict.items.empty()) {
      out_.AppendOwn("{}");
      return true;
    }
    std::vector<const std::pair<Value, Value>*> items;
    for (const auto& item : dict.items) items.push_back(&item);
    if (style_.sort_keys) {
      bool comparable = true;
      std::stable_sort(items.begin(), items.end(), [&](const auto* a, const auto* b) {
        uint64_t budget = UINT64_MAX;  // keys are flat
        const std::optional<int> order = Order(a->first, b->first, budget);
        comparable = comparable && order.has_value();
        return order.value_or(0) < 0;
      });
      if (!comparable) {
        what_ = "dict with keys of several types";
        return false;
      }
    }
    out_.AppendOwn("{");
    ++level_;
    bool first = true;
    for (const auto* item : items) {
      if (out_.bytes() > style_.max_bytes) break;
      Separate(first);
      if (!WriteKey(item->first)) return false;
      out_.Append(style_.key_separator);
      if (!Write(item->second)) return false;
    }
    Close("}");
    return true;
  }

  bool WriteKey(const Value& key) {
    if (key.Is(Kind::kString)) return Write(key);
    if (!key.IsNumber() && !key.Is(Kind::kNone)) {
      what_ = "dict with a key of type " + std::string(key.TypeName());
      return false;
    }
    out_.AppendOwn("\"");
    Write(key);
    out_.AppendOwn("\"");
    return true;
  }

  void Separate(bool& first) {
    if (!first) out_.Append(style_.item_separator);
    first = false;
    NewLine();
  }

  void Close(std::string_view bracket) {
    --level_;
    NewLine();
    out_.AppendOwn(bracket);
  }

  void NewLine() {
    if (!style_.indent) return;
    out_.AppendOwn("\n");
    for (uint32_t i = 0; i < level_; ++i) out_.Append(*style_.indent);
  }

  const JsonStyle& style_;
  MarkedText& out_;
  std::string& what_;
  uint32_t level_ = 0;
};

}  // namespace

// The shortest digits that read back as the same number, in Python's choice of notation.
std::string FloatRepr(double value) {
  if (std::isnan(value)) return "nan";
  if (std::isinf(value)) return value > 0 ? "inf" : "-inf";
  const double magnitude = std::fabs(value);
  std::string out = fmt::format("{}", value);
  if (magnitude != 0 && (magnitude < 1e-4 || magnitude >= 1e16)) {
    // Exponent notation: the digits of "{:e}" with the shortest precision that reads back.
    for (int precision = 0; precision <= 17; ++precision) {
      out = fmt::format("{:.{}e}", value, precision);
      if (std::strtod(out.c_str(), nullptr) == value) break;
    }
    return out;
  }
  if (out.find('e') != std::string::npos) out = fmt::format("{:f}", value);
  if (out.find('.') == std::string::npos) out += ".0";
  return out;
}

MarkedText Repr(const Value& value, uint64_t max_bytes) {
  Bounded bounded{{}, max_bytes};
  AppendRepr(bounded, value);
  return std::move(bounded.text);
}

bool ToJson(const Value& value, const JsonStyle& style, MarkedText& out, std::string& what) {
  return JsonWriter(style, out, what).Write(value);
}

}  // namespace weft::jinja
