#include "libs/usage/usage_row.h"

#include <limits>
#include <nlohmann/json.hpp>

#include "libs/base/status.h"
#include "libs/telemetry/json_text.h"

namespace weft::usage {

using nlohmann::json;

namespace {

// All members but "id" and "cached", in the order that they are written in.
template <typename Row, typename Text, typename Number>
void VisitFields(Row& row, Text&& text, Number&& number) {
  number("created_at_us", row.created_at_us);
  text("tenant", row.tenant);
  text("project", row.project);
  text("user", row.user);
  text("key_id", row.key_id);
  text("model", row.model);
  text("model_version", row.model_version);
  text("endpoint", row.endpoint);
  text("outcome", row.outcome);
  number("prompt_tokens", row.prompt_tokens);
  number("cached_prompt_tokens", row.cached_prompt_tokens);
  number("completion_tokens", row.completion_tokens);
  number("cost_micros", row.cost_micros);
  number("duration_ms", row.duration_ms);
}

}  // namespace

std::string ToJson(const UsageRow& row) {
  // By hand: it is written twice for each request.
  std::string out;
  out.reserve(512);
  const auto name = [&](std::string_view key) {
    out += out.empty() ? "{\"" : ",\"";
    out += key;
    out += "\":";
  };
  const auto text = [&](std::string_view key, const std::string& value) {
    if (value.empty()) return;
    name(key);
    telemetry::AppendJsonString(out, value);
  };
  const auto number = [&](std::string_view key, auto value) {
    name(key);
    out += std::to_string(value);
  };
  name("id");
  telemetry::AppendJsonString(out, row.id);
  VisitFields(row, text, number);
  if (row.cached) {
    name("cached");
    out += "true";
  }
  return out + "}";
}

absl::StatusOr<UsageRow> FromJson(std::string_view line) {
  const json in = json::parse(line, nullptr, false);
  if (!in.is_object()) return InvalidArgument("a usage row is a JSON object");
  UsageRow row;
  std::string wrong;
  const auto text = [&](const char* name, std::string& value) {
    const auto it = in.find(name);
    if (it == in.end()) return;
    if (!it->is_string()) {
      wrong = name;
    } else {
      value = it->get<std::string>();
    }
  };
  const auto number = [&](const char* name, auto& value) {
    const auto it = in.find(name);
    if (it == in.end()) return;
    using Number = std::remove_reference_t<decltype(value)>;
    constexpr auto kMost = static_cast<uint64_t>(std::numeric_limits<int64_t>::max());
    if (!it->is_number_unsigned() || it->template get<uint64_t>() > kMost) {
      wrong = name;
    } else {
      value = it->template get<Number>();
    }
  };
  text("id", row.id);
  VisitFields(row, text, number);
  if (const auto it = in.find("cached"); it != in.end()) {
    if (!it->is_boolean()) {
      wrong = "cached";
    } else {
      row.cached = it->get<bool>();
    }
  }
  if (!wrong.empty()) return InvalidArgument("{}: not of its type", wrong);
  if (row.id.empty()) return InvalidArgument("id: missing");
  return row;
}

}  // namespace weft::usage
