// The methods of strings, lists, dicts and `loop` that do not change their object.
#include <algorithm>
#include <cstring>

#include "libs/base/status.h"
#include "libs/tokenizer/jinja_interpreter.h"
#include "libs/tokenizer/unicode.h"
#include "libs/tokenizer/utf8.h"

namespace weft::jinja {
namespace {

using Bound = std::vector<std::optional<Value>>;
constexpr size_t kNone = std::string_view::npos;

size_t Find(std::string_view text, std::string_view part, size_t from) {
  if (from > text.size()) return kNone;
  if (part.empty()) return from;
  const void* at = ::memmem(text.data() + from, text.size() - from, part.data(), part.size());
  return at == nullptr ? kNone : static_cast<size_t>(static_cast<const char*>(at) - text.data());
}

// One search in the reversed text: searching on from each match could cost its square.
size_t RFind(std::string_view text, std::string_view part) {
  const std::string backwards(text.rbegin(), text.rend());
  const size_t at = Find(backwards, std::string(part.rbegin(), part.rend()), 0);
  return at == kNone ? kNone : text.size() - at - part.size();
}

size_t CountCharacters(std::string_view text) {
  size_t count = 0;
  for (size_t at = 0; at < text.size(); at += DecodeUtf8(text, at).length) ++count;
  return count;
}

Value MakeText(Interpreter& in, MarkedText text) {
  return in.Charge(text.bytes()) ? Value::String(std::move(text)) : Value();
}

// The part of `text` that `view`, which points into it, shows.
MarkedText PartOf(const MarkedText& text, std::string_view view) {
  if (view.empty()) return {};
  const auto begin = static_cast<size_t>(view.data() - text.text().data());
  return text.Part(begin, begin + view.size());
}

// What strip removes: white space, or the characters of `chars`.
struct StripSet {
  bool space = true;
  std::vector<uint32_t> chars;
  bool Has(uint32_t c) const {
    if (space) return unicode::Is(c, unicode::kPythonSpace);
    return std::find(chars.begin(), chars.end(), c) != chars.end();
  }
};

std::string_view StripText(std::string_view text, const StripSet& set, bool left, bool right) {
  size_t begin = 0;
  while (left && begin < text.size()) {
    const Utf8Char c = DecodeUtf8(text, begin);
    if (!set.Has(c.code_point)) break;
    begin += c.length;
  }
  size_t end = text.size();
  while (right && end > begin) {
    size_t last = end - 1;
    while (last > begin && (static_cast<uint8_t>(text[last]) & 0xC0) == 0x80) --last;
    const Utf8Char c = DecodeUtf8(text.substr(0, end), last);
    if (c.length != end - last || !set.Has(c.code_point)) break;
    end = last;
  }
  return text.substr(begin, end - begin);
}

Value Strip(Interpreter& in, const Value& self, const Args& args, bool left, bool right) {
  Bound bound;
  if (!in.Bind("strip", args, {"chars"}, 0, bound)) return {};
  StripSet set;
  if (bound[0] && !bound[0]->Is(Kind::kNone)) {
    if (!bound[0]->Is(Kind::kString)) return in.Fail("strip arg must be None or str");
    set.space = false;
    const std::string& chars = bound[0]->string();
    for (size_t at = 0; at < chars.size();) {
      const Utf8Char c = DecodeUtf8(chars, at);
      set.chars.push_back(c.code_point);
      at += c.length;
    }
    if (!in.Charge(self.string().size() * std::min<size_t>(chars.size(), 64))) return {};
    if (set.chars.size() > 64) return in.Fail("strip takes at most 64 characters");
  }
  return MakeText(in, PartOf(self.text(), StripText(self.string(), set, left, right)));
}

Value StripBoth(Interpreter& in, const Value& self, const Args& args) {
  return Strip(in, self, args, true, true);
}
Value StripLeft(Interpreter& in, const Value& self, const Args& args) {
  return Strip(in, self, args, true, false);
}
Value StripRight(Interpreter& in, const Value& self, const Args& args) {
  return Strip(in, self, args, false, true);
}

// The separator and the limit of split and rsplit.
struct SplitArgs {
  std::optional<std::string> separator;
  int64_t limit = -1;
};
bool ReadSplit(Interpreter& in, const Args& args, SplitArgs& out) {
  Bound bound;
  if (!in.Bind("split", args, {"sep", "maxsplit"}, 0, bound)) return false;
  if (bound[0] && !bound[0]->Is(Kind::kNone)) {
    if (!bound[0]->Is(Kind::kString)) {
      in.Fail("split needs a str separator, not '{}'", bound[0]->TypeName());
      return false;
    }
    if (bound[0]->string().empty()) {
      in.Fail("empty separator");
      return false;
    }
    out.separator = bound[0]->string();
  }
  if (bound[1]) {
    if (!bound[1]->IsIntegral()) {
      in.Fail("maxsplit must be an integer");
      return false;
    }
    out.limit = bound[1]->int_value();
  }
  return true;
}

// `parts` point into the text of `self`.
Value FinishSplit(Interpreter& in, const Value& self, const std::vector<std::string_view>& parts) {
  uint64_t bytes = parts.size() * (sizeof(Value) + sizeof(StringObject) + sizeof(TextRange)) +
                   self.text().bytes();
  for (const std::string_view part : parts) bytes += part.size();
  if (!in.Charge(bytes)) return {};
  std::vector<Value> out;
  out.reserve(parts.size());
  for (const std::string_view part : parts) out.push_back(Value::String(PartOf(self.text(), part)));
  return Value::List(std::move(out));
}

Value Split(Interpreter& in, const Value& self, const Args& args) {
  SplitArgs split;
  if (!ReadSplit(in, args, split)) return {};
  std::string_view rest = self.string();
  std::vector<std::string_view> parts;
  if (split.separator) {
    while (split.limit < 0 || static_cast<int64_t>(parts.size()) < split.limit) {
      const size_t at = Find(rest, *split.separator, 0);
      if (at == kNone) break;
      parts.push_back(rest.substr(0, at));
      rest.remove_prefix(at + split.separator->size());
    }
    parts.push_back(rest);
    return FinishSplit(in, self, parts);
  }
  const StripSet space;
  while (true) {
    rest = StripText(rest, space, true, false);
    if (rest.empty()) break;
    if (split.limit >= 0 && static_cast<int64_t>(parts.size()) == split.limit) {
      parts.push_back(rest);
      break;
    }
    size_t end = 0;
    while (end < rest.size()) {
      const Utf8Char c = DecodeUtf8(rest, end);
      if (space.Has(c.code_point)) break;
      end += c.length;
    }
    parts.push_back(rest.substr(0, end));
    rest.remove_prefix(end);
  }
  return FinishSplit(in, self, parts);
}

Value RSplit(Interpreter& in, const Value& self, const Args& args) {
  SplitArgs split;
  if (!ReadSplit(in, args, split)) return {};
  if (split.limit < 0) return Split(in, self, args);
  if (!split.separator) return in.Fail("rsplit with a limit needs a separator");
  // All places from the left cost one pass; the last `limit` of them, not overlapping, count.
  std::string_view rest = self.string();
  std::vector<std::string_view> parts;
  const std::string& separator = *split.separator;
  while (static_cast<int64_t>(parts.size()) < split.limit) {
    if (!in.Charge(rest.size())) return {};
    const size_t at = RFind(rest, separator);
    if (at == kNone) break;
    parts.push_back(rest.substr(at + separator.size()));
    rest = rest.substr(0, at);
  }
  parts.push_back(rest);
  std::reverse(parts.begin(), parts.end());
  return FinishSplit(in, self, parts);
}

Value SplitLines(Interpreter& in, const Value& self, const Args& args) {
  Bound bound;
  if (!in.Bind("splitlines", args, {"keepends"}, 0, bound)) return {};
  const bool keep = bound[0] && bound[0]->Truthy();
  const std::string_view text = self.string();
  std::vector<std::string_view> parts;
  size_t begin = 0;
  for (size_t at = 0; at < text.size();) {
    const Utf8Char c = DecodeUtf8(text, at);
    const uint32_t code = c.code_point;
    size_t next = at + c.length;
    const bool ends = (code >= 0x0A && code <= 0x0D) || (code >= 0x1C && code <= 0x1E) ||
                      code == 0x85 || code == 0x2028 || code == 0x2029;
    if (ends) {
      if (code == '\r' && next < text.size() && text[next] == '\n') ++next;
      parts.push_back(text.substr(begin, (keep ? next : at) - begin));
      begin = next;
    }
    at = next;
  }
  if (begin < text.size()) parts.push_back(text.substr(begin));
  return FinishSplit(in, self, parts);
}

Value HasAffix(Interpreter& in, const Value& self, const Args& args, bool at_start) {
  Bound bound;
  const std::string_view what = at_start ? "startswith" : "endswith";
  if (!in.Bind(what, args, {"affix"}, 1, bound)) return {};
  std::vector<Value> affixes = {*bound[0]};
  if (bound[0]->IsList(ListForm::kTuple)) affixes = bound[0]->items();
  const std::string_view text = self.string();
  for (const Value& affix : affixes) {
    if (!affix.Is(Kind::kString)) {
      return in.Fail("{} needs a str or a tuple of str, not {}", what, affix.TypeName());
    }
    if (!in.Charge(affix.string().size())) return {};
    const std::string_view part = affix.string();
    if (at_start ? text.starts_with(part) : text.ends_with(part)) return Value::Bool(true);
  }
  return Value::Bool(false);
}
Value StartsWith(Interpreter& in, const Value& self, const Args& args) {
  return HasAffix(in, self, args, true);
}
Value EndsWith(Interpreter& in, const Value& self, const Args& args) {
  return HasAffix(in, self, args, false);
}

// One str argument of a method.
bool OneText(Interpreter& in, std::string_view what, const Args& args, std::string& out) {
  Bound bound;
  if (!in.Bind(what, args, {"x"}, 1, bound)) return false;
  if (!bound[0]->Is(Kind::kString)) {
    in.Fail("{} needs a str, not {}", what, bound[0]->TypeName());
    return false;
  }
  out = bound[0]->string();
  return true;
}

Value RemovePrefix(Interpreter& in, const Value& self, const Args& args) {
  std::string part;
  if (!OneText(in, "removeprefix", args, part)) return {};
  const std::string& text = self.string();
  return MakeText(in, self.text().Part(text.starts_with(part) ? part.size() : 0, text.size()));
}
Value RemoveSuffix(Interpreter& in, const Value& self, const Args& args) {
  std::string part;
  if (!OneText(in, "removesuffix", args, part)) return {};
  const std::string& text = self.string();
  return MakeText(in, self.text().Part(0, text.size() - (text.ends_with(part) ? part.size() : 0)));
}

Value NoArgs(Interpreter& in, std::string_view what, const Args& args, MarkedText text) {
  Bound bound;
  if (!in.Bind(what, args, {}, 0, bound)) return {};
  return MakeText(in, std::move(text));
}
Value Upper(Interpreter& in, const Value& self, const Args& args) {
  return NoArgs(in, "upper", args, self.text().Map(unicode::Upper));
}
Value Lower(Interpreter& in, const Value& self, const Args& args) {
  return NoArgs(in, "lower", args, self.text().Map(unicode::Lower));
}
Value Title(Interpreter& in, const Value& self, const Args& args) {
  return NoArgs(in, "title", args, self.text().Map(unicode::Title));
}
Value Capitalize(Interpreter& in, const Value& self, const Args& args) {
  return NoArgs(in, "capitalize", args, self.text().Map(unicode::Capitalize));
}

Value Replace(Interpreter& in, const Value& self, const Args& args) {
  return FindFilter("replace")(in, self, args);
}
Value Join(Interpreter& in, const Value& self, const Args& args) {
  Bound bound;
  if (!in.Bind("join", args, {"iterable"}, 1, bound)) return {};
  const auto items = in.Iterate(*bound[0]);
  if (in.failed()) return {};
  MarkedText out;
  for (size_t i = 0; i < items->size(); ++i) {
    const Value& item = (*items)[i];
    if (!item.Is(Kind::kString)) {
      return in.Fail("sequence item {}: expected str instance, {} found", i, item.TypeName());
    }
    if (i > 0) out.Append(self.text());
    out.Append(item.text());
    if (!in.Charge(item.text().bytes() + self.text().bytes())) return {};
  }
  return Value::String(std::move(out));
}

Value FindText(Interpreter& in, const Value& self, const Args& args, bool last, bool must) {
  std::string part;
  if (!OneText(in, must ? "index" : "find", args, part)) return {};
  const std::string& text = self.string();
  if (!in.Charge(text.size())) return {};
  const size_t at = last ? (part.empty() ? text.size() : RFind(text, part)) : Find(text, part, 0);
  if (at == kNone && must) return in.Fail("substring not found");
  if (at == kNone) return Value::Int(-1);
  return Value::Int(static_cast<int64_t>(CountCharacters(std::string_view(text).substr(0, at))));
}
Value FindFirst(Interpreter& in, const Value& self, const Args& args) {
  return FindText(in, self, args, false, false);
}
Value FindLast(Interpreter& in, const Value& self, const Args& args) {
  return FindText(in, self, args, true, false);
}
Value IndexOf(Interpreter& in, const Value& self, const Args& args) {
  return FindText(in, self, args, false, true);
}
Value CountText(Interpreter& in, const Value& self, const Args& args) {
  std::string part;
  if (!OneText(in, "count", args, part)) return {};
  const std::string& text = self.string();
  if (!in.Charge(text.size())) return {};
  if (part.empty()) return Value::Int(static_cast<int64_t>(CountCharacters(text)) + 1);
  int64_t count = 0;
  for (size_t at = Find(text, part, 0); at != kNone; at = Find(text, part, at + part.size())) {
    ++count;
  }
  return Value::Int(count);
}

// True when there is a character and all of them have one of the classes.
Value AllOf(Interpreter& in, std::string_view what, const Value& self, const Args& args,
            uint8_t classes) {
  Bound bound;
  if (!in.Bind(what, args, {}, 0, bound)) return {};
  const std::string& text = self.string();
  for (size_t at = 0; at < text.size();) {
    const Utf8Char c = DecodeUtf8(text, at);
    if (!unicode::Is(c.code_point, classes)) return Value::Bool(false);
    at += c.length;
  }
  return Value::Bool(!text.empty());
}
Value IsAlpha(Interpreter& in, const Value& self, const Args& args) {
  return AllOf(in, "isalpha", self, args, unicode::kLetter);
}
Value IsDigit(Interpreter& in, const Value& self, const Args& args) {
  return AllOf(in, "isdigit", self, args, unicode::kNumber);
}
Value IsAlnum(Interpreter& in, const Value& self, const Args& args) {
  return AllOf(in, "isalnum", self, args, unicode::kLetter | unicode::kNumber);
}
Value IsSpace(Interpreter& in, const Value& self, const Args& args) {
  return AllOf(in, "isspace", self, args, unicode::kPythonSpace);
}
Value IsUpper(Interpreter& in, const Value& self, const Args& args) {
  Bound bound;
  if (!in.Bind("isupper", args, {}, 0, bound)) return {};
  return Value::Bool(unicode::Upper(self.string()) == self.string() &&
                     unicode::Lower(self.string()) != self.string());
}
Value IsLower(Interpreter& in, const Value& self, const Args& args) {
  Bound bound;
  if (!in.Bind("islower", args, {}, 0, bound)) return {};
  return Value::Bool(unicode::Lower(self.string()) == self.string() &&
                     unicode::Upper(self.string()) != self.string());
}
Value Format(Interpreter& in, const Value& self, const Args& args) {
  return FormatBraces(in, self.text(), args);
}

Value ListIndex(Interpreter& in, const Value& self, const Args& args) {
  Bound bound;
  if (!in.Bind("index", args, {"value"}, 1, bound)) return {};
  for (size_t i = 0; i < self.items().size(); ++i) {
    if (in.Same(self.items()[i], *bound[0])) return Value::Int(static_cast<int64_t>(i));
    if (in.failed()) return {};
  }
  return in.Fail("the value is not in the list");
}
Value ListCount(Interpreter& in, const Value& self, const Args& args) {
  Bound bound;
  if (!in.Bind("count", args, {"value"}, 1, bound)) return {};
  int64_t count = 0;
  if (!in.Charge(self.items().size())) return {};
  for (const Value& item : self.items()) count += in.Same(item, *bound[0]) ? 1 : 0;
  return Value::Int(count);
}
Value Copy(Interpreter& in, const Value& self, const Args& args) {
  Bound bound;
  return in.Bind("copy", args, {}, 0, bound) ? self : Value();
}

Value DictGet(Interpreter& in, const Value& self, const Args& args) {
  Bound bound;
  if (!in.Bind("get", args, {"key", "default"}, 1, bound)) return {};
  if (!IsKey(*bound[0])) return in.Fail("a {} cannot be a key", bound[0]->TypeName());
  if (const Value* value = self.dict().Find(*bound[0])) return *value;
  return bound[1].value_or(Value::None());
}
enum class View { kKeys, kValues, kItems };
Value DictView(Interpreter& in, const Value& self, const Args& args, View view) {
  Bound bound;
  if (!in.Bind("a dict's view", args, {}, 0, bound)) return {};
  if (!in.Charge(self.dict().items.size() * 4 * sizeof(Value))) return {};
  std::vector<Value> out;
  for (const auto& [key, value] : self.dict().items) {
    out.push_back(view == View::kKeys     ? key
                  : view == View::kValues ? value
                                          : Value::List({key, value}, ListForm::kTuple));
  }
  return Value::List(std::move(out), ListForm::kView);
}
Value DictKeys(Interpreter& in, const Value& self, const Args& args) {
  return DictView(in, self, args, View::kKeys);
}
Value DictValues(Interpreter& in, const Value& self, const Args& args) {
  return DictView(in, self, args, View::kValues);
}
Value DictItems(Interpreter& in, const Value& self, const Args& args) {
  return DictView(in, self, args, View::kItems);
}

Value LoopCycle(Interpreter& in, const Value& self, const Args& args) {
  if (args.positional.empty()) return in.Fail("no items for cycling given");
  return args.positional[self.loop().index0 % args.positional.size()];
}
Value LoopChanged(Interpreter& in, const Value& self, const Args& args) {
  for (const Value& value : args.positional) {
    if (value.depth() > in.limits().max_depth) return in.Fail("loop.changed takes plain values");
  }
  Value now = Value::List(args.positional, ListForm::kTuple);
  const bool changed = !in.Same(now, *self.loop().last_changed);
  if (changed) *self.loop().last_changed = std::move(now);
  return Value::Bool(changed);
}

struct Method {
  std::string_view name;
  Function function;
};
constexpr Method kStringMethods[] = {
    {"strip", StripBoth},
    {"lstrip", StripLeft},
    {"rstrip", StripRight},
    {"split", Split},
    {"rsplit", RSplit},
    {"splitlines", SplitLines},
    {"startswith", StartsWith},
    {"endswith", EndsWith},
    {"replace", Replace},
    {"upper", Upper},
    {"lower", Lower},
    {"title", Title},
    {"capitalize", Capitalize},
    {"join", Join},
    {"find", FindFirst},
    {"rfind", FindLast},
    {"index", IndexOf},
    {"count", CountText},
    {"isdigit", IsDigit},
    {"isalpha", IsAlpha},
    {"isalnum", IsAlnum},
    {"isspace", IsSpace},
    {"isupper", IsUpper},
    {"islower", IsLower},
    {"format", Format},
    {"removeprefix", RemovePrefix},
    {"removesuffix", RemoveSuffix},
};
constexpr Method kListMethods[] = {{"index", ListIndex}, {"count", ListCount}, {"copy", Copy}};
constexpr Method kTupleMethods[] = {{"index", ListIndex}, {"count", ListCount}};
constexpr Method kDictMethods[] = {{"get", DictGet},
                                   {"keys", DictKeys},
                                   {"values", DictValues},
                                   {"items", DictItems},
                                   {"copy", Copy}};
constexpr Method kLoopMethods[] = {{"cycle", LoopCycle}, {"changed", LoopChanged}};

template <size_t kSize>
Function Look(const Method (&methods)[kSize], std::string_view name) {
  for (const Method& method : methods) {
    if (method.name == name) return method.function;
  }
  return nullptr;
}

}  // namespace

Function FindMethod(const Value& self, std::string_view name) {
  switch (self.kind()) {
    case Kind::kString:
      return Look(kStringMethods, name);
    case Kind::kList:
      if (self.IsList(ListForm::kList)) return Look(kListMethods, name);
      return self.IsList(ListForm::kTuple) ? Look(kTupleMethods, name) : nullptr;
    case Kind::kDict:
      return Look(kDictMethods, name);
    case Kind::kLoop:
      return Look(kLoopMethods, name);
    default:
      return nullptr;
  }
}

}  // namespace weft::jinja
