// Functions that every template can call.
#include <ctime>

#include "libs/base/clock.h"
#include "libs/base/status.h"
#include "libs/tokenizer/jinja_interpreter.h"

namespace weft::jinja {
namespace {

using Bound = std::vector<std::optional<Value>>;

Value RaiseException(Interpreter& in, const Value&, const Args& args) {
  Bound bound;
  if (!in.Bind("raise_exception", args, {"message"}, 1, bound)) return {};
  return in.Fail("{}", in.Text(*bound[0]).text());
}

Value Range(Interpreter& in, const Value&, const Args& args) {
  Bound bound;
  if (!in.Bind("range", args, {"start", "stop", "step"}, 1, bound)) return {};
  for (const auto& value : bound) {
    if (value && !value->IsIntegral()) {
      return in.Fail("range needs integers, not '{}'", value->TypeName());
    }
  }
  const int64_t start = bound[1] ? bound[0]->int_value() : 0;
  const int64_t stop = bound[1] ? bound[1]->int_value() : bound[0]->int_value();
  const int64_t step = bound[2] ? bound[2]->int_value() : 1;
  if (step == 0) return in.Fail("range() arg 3 must not be zero");
  std::vector<Value> out;
  for (int64_t i = start; step > 0 ? i < stop : i > stop;) {
    if (out.size() >= in.limits().max_range) {
      return in.FailWith(absl::StatusCode::kResourceExhausted,
                         fmt::format("range() of more than {} elements", in.limits().max_range));
    }
    out.push_back(Value::Int(i));
    if (__builtin_add_overflow(i, step, &i)) break;
  }
  if (!in.Charge(out.size() * sizeof(Value))) return {};
  return Value::List(std::move(out));
}

// The entries of dict(...) and namespace(...): a mapping or pairs, then named ones.
bool Entries(Interpreter& in, std::string_view what, const Args& args,
             std::vector<std::pair<Value, Value>>& out) {
  if (args.positional.size() > 1) {
    in.Fail("{} takes at most one positional argument", what);
    return false;
  }
  if (!args.positional.empty()) {
    const Value& from = args.positional[0];
    if (from.Is(Kind::kDict)) {
      out = from.dict().items;
    } else {
      const auto items = in.Iterate(from);
      if (in.failed()) return false;
      for (const Value& item : *items) {
        if (!item.IsSequence() || item.items().size() != 2) {
          in.Fail("{} needs a mapping or pairs", what);
          return false;
        }
        const Value& key = item.items()[0];
        if (!IsKey(key)) {
          in.Fail("a {} cannot be a key", key.TypeName());
          return false;
        }
        out.emplace_back(key, item.items()[1]);
      }
    }
  }
  for (size_t i = 0; i < args.named.size(); ++i) {
    out.emplace_back(args.Name(i), args.named[i].second);
  }
  return in.Charge(out.size() * 2 * sizeof(Value));
}

Value MakeDict(Interpreter& in, const Value&, const Args& args) {
  std::vector<std::pair<Value, Value>> entries;
  if (!Entries(in, "dict", args, entries)) return {};
  return Value::Dict(std::move(entries));
}

Value MakeNamespace(Interpreter& in, const Value&, const Args& args) {
  std::vector<std::pair<Value, Value>> entries;
  if (!Entries(in, "namespace", args, entries)) return {};
  auto out = std::make_shared<NamespaceObject>();
  for (auto& [key, value] : entries) {
    if (!key.Is(Kind::kString)) return in.Fail("the names in a namespace must be str");
    if (value.depth() > in.limits().max_depth) {
      return in.Fail("a namespace cannot hold a namespace or a loop");
    }
    out->values[key.string()] = std::move(value);
  }
  out->depth = kNamespaceDepth;
  return Value::Of(Kind::kNamespace, std::move(out));
}

// strftime in UTC, which does not depend on where the service runs.
Value StrftimeNow(Interpreter& in, const Value&, const Args& args) {
  Bound bound;
  if (!in.Bind("strftime_now", args, {"format"}, 1, bound)) return {};
  const MarkedText marked = in.Text(*bound[0]);
  const std::string& format = marked.text();
  if (format.size() > 256) return in.Fail("the format of strftime_now is longer than 256 bytes");
  const auto seconds = static_cast<std::time_t>(UnixSeconds(in.clock().Wall()));
  std::tm parts{};
  ::gmtime_r(&seconds, &parts);
  std::string out(8192, '\0');
  // A space in front: an empty result is then no error.
  const size_t size = std::strftime(out.data(), out.size(), (" " + format).c_str(), &parts);
  if (size == 0) return in.Fail("the format of strftime_now gives too much");
  out = out.substr(1, size - 1);
  return Value::String(marked.caller().empty() ? MarkedText::Own(std::move(out))
                                               : MarkedText::FromCaller(std::move(out)));
}

}  // namespace

Function FindGlobal(std::string_view name) {
  if (name == "raise_exception") return RaiseException;
  if (name == "range") return Range;
  if (name == "namespace") return MakeNamespace;
  if (name == "dict") return MakeDict;
  if (name == "strftime_now") return StrftimeNow;
  return nullptr;
}

}  // namespace weft::jinja
