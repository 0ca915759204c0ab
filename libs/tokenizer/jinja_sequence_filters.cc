// Filters on sequences and mappings.
#include <algorithm>
#include <charconv>

#include "libs/base/status.h"
#include "libs/tokenizer/jinja_filters.h"
#include "libs/tokenizer/unicode.h"

namespace weft::jinja {

Value GetPath(Interpreter& in, const Value& object, const Value& path) {
  if (path.IsIntegral()) return in.GetItem(object, path);
  std::string_view rest = path.string();
  Value at = object;
  while (!in.failed()) {
    const size_t dot = rest.find('.');
    const std::string_view part = rest.substr(0, dot);
    int64_t index = 0;
    const auto [end, error] = std::from_chars(part.data(), part.data() + part.size(), index);
    const bool number =
        error == std::errc() && end == part.data() + part.size() && !part.empty() && part[0] != '-';
    at = in.GetItem(at, number ? Value::Int(index) : Value::Own(std::string(part)));
    if (dot == std::string_view::npos) break;
    rest.remove_prefix(dot + 1);
  }
  return at;
}

namespace {

using Bound = std::vector<std::optional<Value>>;
using Items = std::vector<Value>;

Value MakeList(Interpreter& in, Items items, ListForm form = ListForm::kList) {
  if (!in.Charge(items.size() * sizeof(Value))) return {};
  return Value::List(std::move(items), form);
}

// The value by which unique, sort, min and max compare: an attribute, without case for str.
Value SortKey(Interpreter& in, const Value& item, const std::optional<Value>& attribute,
              bool case_sensitive) {
  Value key = item;
  if (attribute && !attribute->Is(Kind::kNone)) key = GetPath(in, item, *attribute);
  if (case_sensitive || !key.Is(Kind::kString)) return key;
  if (!in.Charge(key.string().size())) return {};
  return Value::Own(unicode::Lower(key.string()));  // only compared
}

bool IsTrue(const std::optional<Value>& value) { return value && value->Truthy(); }

Value Join(Interpreter& in, const Value& value, const Args& args) {
  Bound bound;
  if (!in.Bind("join", args, {"d", "attribute"}, 0, bound)) return {};
  const auto items = in.Iterate(value);
  const MarkedText separator = bound[0] ? in.Text(*bound[0]) : MarkedText();
  MarkedText out;
  for (size_t i = 0; !in.failed() && i < items->size(); ++i) {
    Value item = (*items)[i];
    if (bound[1] && !bound[1]->Is(Kind::kNone)) item = GetPath(in, item, *bound[1]);
    if (i > 0 && in.Charge(separator.bytes())) out.Append(separator);
    out.Append(in.Text(item));
  }
  return in.failed() ? Value() : Value::String(std::move(out));
}

Value First(Interpreter& in, const Value& value, const Args& args) {
  Bound bound;
  if (!in.Bind("first", args, {}, 0, bound)) return {};
  const auto items = in.Iterate(value);
  if (in.failed()) return {};
  return items->empty() ? Value::Undefined("No first item, sequence was empty.") : items->front();
}

Value Last(Interpreter& in, const Value& value, const Args& args) {
  Bound bound;
  if (!in.Bind("last", args, {}, 0, bound)) return {};
  if (value.IsList(ListForm::kGenerator)) return in.Fail("a generator has no last item");
  const auto items = in.Iterate(value);
  if (in.failed()) return {};
  return items->empty() ? Value::Undefined("No last item, sequence was empty.") : items->back();
}

Value List(Interpreter& in, const Value& value, const Args& args) {
  Bound bound;
  if (!in.Bind("list", args, {}, 0, bound)) return {};
  const auto items = in.Iterate(value);
  return in.failed() ? Value() : MakeList(in, *items);
}

Value ItemsOf(Interpreter& in, const Value& value, const Args& args) {
  Bound bound;
  if (!in.Bind("items", args, {}, 0, bound)) return {};
  if (value.Is(Kind::kUndefined)) return MakeList(in, {}, ListForm::kGenerator);
  if (!value.Is(Kind::kDict)) return in.Fail("Can only get item pairs from a mapping.");
  Items out;
  for (const auto& [key, item] : value.dict().items) {
    out.push_back(Value::List({key, item}, ListForm::kTuple));
  }
  if (!in.Charge(out.size() * 2 * sizeof(Value))) return {};
  return MakeList(in, std::move(out), ListForm::kGenerator);
}

Value Reverse(Interpreter& in, const Value& value, const Args& args) {
  Bound bound;
  if (!in.Bind("reverse", args, {}, 0, bound)) return {};
  const auto items = in.Iterate(value);
  if (in.failed()) return {};
  if (value.Is(Kind::kString)) {
    MarkedText out;
    for (auto it = items->rbegin(); it != items->rend(); ++it) out.Append(it->text());
    return Value::String(std::move(out));
  }
  return MakeList(in, Items(items->rbegin(), items->rend()), ListForm::kGenerator);
}

Value Map(Interpreter& in, const Value& value, const Args& args) {
  // As in jinja2, None and the like give nothing, whatever the arguments are.
  if (!value.Truthy()) return MakeList(in, {}, ListForm::kGenerator);
  const auto items = in.Iterate(value);
  if (in.failed()) return {};
  Items out;
  if (args.positional.empty()) {
    Bound bound;
    if (!in.Bind("map", args, {"attribute", "default"}, 1, bound)) return {};
    for (const Value& item : *items) {
      Value found = GetPath(in, item, *bound[0]);
      if (in.failed()) return {};
      if (found.Is(Kind::kUndefined) && bound[1]) found = *bound[1];
      out.push_back(std::move(found));
    }
    return MakeList(in, std::move(out), ListForm::kGenerator);
  }
  if (!args.positional[0].Is(Kind::kString)) return in.Fail("map needs the name of a filter");
  const std::string name = args.positional[0].string();
  const Args rest{
      {args.positional.begin() + 1, args.positional.end()}, args.named, args.unpacked_from};
  if (!in.Charge(args.positional.size() * sizeof(Value))) return {};
  for (const Value& item : *items) {
    out.push_back(in.CallFilter(name, item, rest));
    if (in.failed() || !in.Charge(sizeof(Value))) return {};
  }
  return MakeList(in, std::move(out), ListForm::kGenerator);
}

// select, reject, selectattr, rejectattr.
Value Choose(Interpreter& in, const Value& value, const Args& args, bool by_attribute,
             bool wanted) {
  if (!value.Truthy()) return MakeList(in, {}, ListForm::kGenerator);  // None too, as in jinja2
  const auto items = in.Iterate(value);
  if (in.failed()) return {};
  const size_t used = by_attribute ? 1 : 0;
  if (by_attribute && args.positional.empty())
    return in.Fail("missing parameter for attribute name");
  const bool has_test = args.positional.size() > used;
  if (has_test && !args.positional[used].Is(Kind::kString)) {
    return in.Fail("a test must be given by its name");
  }
  const std::string test = has_test ? args.positional[used].string() : "";
  Args rest;
  rest.named = args.named;
  rest.unpacked_from = args.unpacked_from;
  if (has_test) {
    rest.positional.assign(args.positional.begin() + static_cast<ptrdiff_t>(used) + 1,
                           args.positional.end());
  }
  Items out;
  for (const Value& item : *items) {
    const Value subject = by_attribute ? GetPath(in, item, args.positional[0]) : item;
    if (in.failed() || !in.Charge(sizeof(Value))) return {};
    const bool holds = has_test ? in.CallTest(test, subject, rest) : subject.Truthy();
    if (in.failed()) return {};
    if (holds == wanted) out.push_back(item);
  }
  return MakeList(in, std::move(out), ListForm::kGenerator);
}
Value Select(Interpreter& in, const Value& value, const Args& args) {
  return Choose(in, value, args, false, true);
}
Value Reject(Interpreter& in, const Value& value, const Args& args) {
  return Choose(in, value, args, false, false);
}
Value SelectAttr(Interpreter& in, const Value& value, const Args& args) {
  return Choose(in, value, args, true, true);
}
Value RejectAttr(Interpreter& in, const Value& value, const Args& args) {
  return Choose(in, value, args, true, false);
}

Value Sum(Interpreter& in, const Value& value, const Args& args) {
  Bound bound;
  if (!in.Bind("sum", args, {"attribute", "start"}, 0, bound)) return {};
  const auto items = in.Iterate(value);
  Value total = bound[1].value_or(Value::Int(0));
  if (total.Is(Kind::kString)) return in.Fail("sum() can't sum strings");
  for (size_t i = 0; !in.failed() && i < items->size(); ++i) {
    Value item = (*items)[i];
    if (bound[0] && !bound[0]->Is(Kind::kNone)) item = GetPath(in, item, *bound[0]);
    if (!in.failed()) total = in.Binary("+", total, item);
  }
  return total;
}

Value Unique(Interpreter& in, const Value& value, const Args& args) {
  Bound bound;
  if (!in.Bind("unique", args, {"case_sensitive", "attribute"}, 0, bound)) return {};
  const auto items = in.Iterate(value);
  Items keys;
  Items out;
  absl::flat_hash_map<std::string, bool> texts;
  for (size_t i = 0; !in.failed() && i < items->size(); ++i) {
    const Value key = SortKey(in, (*items)[i], bound[1], IsTrue(bound[0]));
    if (in.failed()) break;
    if (key.Is(Kind::kString)) {
      if (!texts.emplace(key.string(), true).second) continue;
    } else {
      if (key.Is(Kind::kDict) || key.IsList(ListForm::kList)) {
        return in.Fail("unhashable type: '{}'", key.TypeName());
      }
      if (std::any_of(keys.begin(), keys.end(), [&](const Value& k) { return in.Same(k, key); })) {
        continue;
      }
      keys.push_back(key);
    }
    out.push_back((*items)[i]);
  }
  return in.failed() ? Value() : MakeList(in, std::move(out), ListForm::kGenerator);
}

// Stable. Fails on values that do not compare.
bool SortBy(Interpreter& in, std::vector<std::pair<Value, Value>>& keyed, bool reverse) {
  bool comparable = true;
  // A comparison must stay a strict order even among values that do not compare.
  std::stable_sort(keyed.begin(), keyed.end(), [&](const auto& a, const auto& b) {
    const auto order = in.Compare(reverse ? b.first : a.first, reverse ? a.first : b.first);
    if (!order) comparable = comparable && a.first.IsNumber() && b.first.IsNumber();
    return order.value_or(0) < 0;
  });
  if (!comparable) in.Fail("the values to be sorted do not compare with each other");
  return !in.failed();
}

Value Sort(Interpreter& in, const Value& value, const Args& args) {
  Bound bound;
  if (!in.Bind("sort", args, {"reverse", "case_sensitive", "attribute"}, 0, bound)) return {};
  const auto items = in.Iterate(value);
  std::vector<std::pair<Value, Value>> keyed;
  for (size_t i = 0; !in.failed() && i < items->size(); ++i) {
    const Value& item = (*items)[i];
    Value key = SortKey(in, item, std::nullopt, IsTrue(bound[1]));
    if (bound[2] && bound[2]->Is(Kind::kString)) {
      // "a,b": by several attributes.
      Items parts;
      std::string_view rest = bound[2]->string();
      while (true) {
        const size_t comma = rest.find(',');
        parts.push_back(
            SortKey(in, item, Value::Own(std::string(rest.substr(0, comma))), IsTrue(bound[1])));
        if (comma == std::string_view::npos) break;
        rest.remove_prefix(comma + 1);
      }
      key = Value::List(std::move(parts));
    } else if (bound[2]) {
      key = SortKey(in, item, bound[2], IsTrue(bound[1]));
    }
    keyed.emplace_back(std::move(key), item);
  }
  if (in.failed() || !SortBy(in, keyed, IsTrue(bound[0]))) return {};
  Items out;
  for (auto& [key, item] : keyed) out.push_back(std::move(item));
  return MakeList(in, std::move(out));
}

Value DictSort(Interpreter& in, const Value& value, const Args& args) {
  Bound bound;
  if (!in.Bind("dictsort", args, {"case_sensitive", "by", "reverse"}, 0, bound)) return {};
  if (!value.Is(Kind::kDict)) return in.Fail("dictsort needs a dict, not {}", value.TypeName());
  const std::string by = bound[1] ? in.Text(*bound[1]).text() : "key";
  if (by != "key" && by != "value") {
    return in.Fail("You can only sort by either \"key\" or \"value\"");
  }
  std::vector<std::pair<Value, Value>> keyed;
  for (const auto& [key, item] : value.dict().items) {
    keyed.emplace_back(SortKey(in, by == "key" ? key : item, std::nullopt, IsTrue(bound[0])),
                       Value::List({key, item}, ListForm::kTuple));
  }
  if (in.failed() || !SortBy(in, keyed, IsTrue(bound[2]))) return {};
  Items out;
  for (auto& [key, item] : keyed) out.push_back(std::move(item));
  return MakeList(in, std::move(out));
}

Value Extreme(Interpreter& in, const Value& value, const Args& args, int sign) {
  Bound bound;
  if (!in.Bind("min or max", args, {"case_sensitive", "attribute"}, 0, bound)) return {};
  const auto items = in.Iterate(value);
  if (in.failed()) return {};
  if (items->empty()) return Value::Undefined("No aggregated item, sequence was empty.");
  Value best = items->front();
  Value best_key = SortKey(in, best, bound[1], IsTrue(bound[0]));
  for (size_t i = 1; !in.failed() && i < items->size(); ++i) {
    const Value key = SortKey(in, (*items)[i], bound[1], IsTrue(bound[0]));
    const auto order = in.Compare(key, best_key);
    if (!order) return in.Fail("the values do not compare with each other");
    if (*order * sign > 0) {
      best = (*items)[i];
      best_key = key;
    }
  }
  return best;
}
Value Min(Interpreter& in, const Value& value, const Args& args) {
  return Extreme(in, value, args, -1);
}
Value Max(Interpreter& in, const Value& value, const Args& args) {
  return Extreme(in, value, args, 1);
}

Value Batch(Interpreter& in, const Value& value, const Args& args) {
  Bound bound;
  if (!in.Bind("batch", args, {"linecount", "fill_with"}, 1, bound)) return {};
  const auto items = in.Iterate(value);
  if (in.failed()) return {};
  if (!bound[0]->IsIntegral() || bound[0]->int_value() < 1) {
    return in.Fail("batch needs a positive count");
  }
  const auto count = static_cast<size_t>(bound[0]->int_value());
  Items out;
  Items part;
  for (const Value& item : *items) {
    part.push_back(item);
    if (part.size() < count) continue;
    out.push_back(Value::List(std::exchange(part, {})));
  }
  if (!part.empty()) {
    if (bound[1] && !bound[1]->Is(Kind::kNone)) {
      if (!in.Charge(count * sizeof(Value))) return {};
      part.resize(count, *bound[1]);
    }
    out.push_back(Value::List(std::move(part)));
  }
  return MakeList(in, std::move(out), ListForm::kGenerator);
}

constexpr NamedFilter kFilters[] = {
    {"batch", Batch},     {"dictsort", DictSort}, {"first", First},
    {"items", ItemsOf},   {"join", Join},         {"last", Last},
    {"list", List},       {"map", Map},           {"max", Max},
    {"min", Min},         {"reject", Reject},     {"rejectattr", RejectAttr},
    {"reverse", Reverse}, {"select", Select},     {"selectattr", SelectAttr},
    {"sort", Sort},       {"sum", Sum},           {"unique", Unique},
};

}  // namespace

Function FindSequenceFilter(std::string_view name) {
  for (const NamedFilter& filter : kFilters) {
    if (filter.name == name) return filter.function;
  }
  return nullptr;
}

}  // namespace weft::jinja
