#include "services/gateway/request_params.h"

#include <charconv>
#include <limits>
#include <nlohmann/json.hpp>
#include <utility>

#include "libs/base/error_info.h"
#include "libs/base/status.h"
#include "libs/scan/policy.h"
#include "services/gateway/api_error.h"

namespace weft::gateway {
namespace {

using nlohmann::json;

constexpr size_t kMaxStopBytes = 256;

void ReadStopTokens(ParamReader& r, v1::SamplingParams& sampling) {
  const json* ids = r.Get("stop_token_ids");
  if (ids == nullptr) return;
  if (!ids->is_array() || ids->size() > 64) {
    r.Fail(ParamError("stop_token_ids", "invalid_value",
                      "Invalid 'stop_token_ids': expected an array of at most 64 token ids."));
    return;
  }
  for (const json& id : *ids) {
    if (!IsTokenId(id)) {
      r.Fail(ParamError("stop_token_ids", "invalid_value",
                        "Invalid 'stop_token_ids': token ids are integers from 0."));
      return;
    }
    sampling.add_stop_token_ids(static_cast<uint32_t>(id.get<uint64_t>()));
  }
}

}  // namespace

absl::Status NeedObject(const json& body) {
  if (body.is_object()) return absl::OkStatus();
  return InvalidArgument("The request body must be a JSON object.");
}

absl::Status LimitPrompt(uint64_t max_characters, const RequestLimits& limits,
                         std::string_view field, std::string& prompt, GenerationRequest& out) {
  scan::PromptLimit limit;
  limit.max_characters = max_characters;
  limit.over = limits.truncate_prompt ? scan::OverLimit::kTruncate : scan::OverLimit::kRefuse;
  const size_t bytes = prompt.size();
  const absl::Status status = scan::ApplyLimit(limit, field, prompt);
  out.prompt_truncated |= prompt.size() < bytes;
  return WithErrorCode(WithField(status, field), "string_above_max_length");
}

void ReadStop(ParamReader& r, v1::Submit& submit) {
  const json* stop = r.Get("stop");
  if (stop == nullptr) return;
  if (!stop->is_string() && !stop->is_array()) {
    r.Fail(r.WrongType("stop", "a string or an array of strings", *stop));
    return;
  }
  const size_t count = stop->is_string() ? 1 : stop->size();
  if (count > kMaxStops) {
    r.Fail(ParamError("stop", "array_above_max_length",
                      fmt::format("Invalid 'stop': array too long. Expected an array with maximum "
                                  "length {}, but got an array with length {} instead.",
                                  kMaxStops, count)));
    return;
  }
  for (size_t i = 0; i < count; ++i) {
    const json& item = stop->is_string() ? *stop : (*stop)[i];
    const std::string path = stop->is_string() ? "stop" : fmt::format("stop[{}]", i);
    if (!item.is_string()) {
      r.Fail(r.WrongType(path, "a string", item));
      return;
    }
    const auto& text = item.get_ref<const std::string&>();
    if (text.empty() || text.size() > kMaxStopBytes) {
      r.Fail(ParamError(
          path, "invalid_value",
          fmt::format("Invalid '{}': stop strings have 1 to {} bytes.", path, kMaxStopBytes)));
      return;
    }
    submit.add_stop(text);
  }
}

void ReadLogitBias(ParamReader& r, v1::SamplingParams& sampling) {
  const json* bias = r.Get("logit_bias");
  if (bias == nullptr) return;
  if (!bias->is_object()) {
    r.Fail(r.WrongType("logit_bias", "an object", *bias));
    return;
  }
  if (bias->size() > 1024) {
    r.Fail(ParamError("logit_bias", "object_above_max_properties",
                      "Invalid 'logit_bias': at most 1024 tokens."));
    return;
  }
  ParamReader values(*bias, "logit_bias");
  for (const auto& [name, value] : bias->items()) {
    uint32_t id = 0;
    const auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), id);
    if (error != std::errc() || end != name.data() + name.size() || name.empty()) {
      r.Fail(ParamError("logit_bias", "invalid_key",
                        "Invalid key in 'logit_bias': keys must be token ids."));
      return;
    }
    const double number = values.Number(name, 0, -100, 100);
    sampling.add_logit_bias_ids(id);
    sampling.add_logit_bias_values(static_cast<float>(number));
  }
  r.Fail(values.Finish());
}

std::string_view TemplateRole(std::string_view role) {
  if (role == "developer") return "system";
  if (role == "function") return "tool";
  for (const std::string_view known : {"system", "user", "assistant", "tool"}) {
    if (role == known) return known;
  }
  return {};
}

bool IsTokenId(const json& value) {
  return value.is_number_integer() && value >= 0 && value <= UINT32_MAX;
}

float ReadTopP(ParamReader& r, double fallback) {
  const auto top_p = static_cast<float>(r.Number("top_p", fallback, 0, 1));
  return top_p > 0 ? top_p : std::numeric_limits<float>::min();
}

void ReadSampling(ParamReader& r, const RequestLimits& limits, GenerationRequest& out) {
  v1::SamplingParams& s = *out.submit.mutable_sampling();
  s.set_temperature(static_cast<float>(r.Number("temperature", 1, 0, 2)));
  s.set_top_p(ReadTopP(r, 1));
  s.set_presence_penalty(static_cast<float>(r.Number("presence_penalty", 0, -2, 2)));
  s.set_frequency_penalty(static_cast<float>(r.Number("frequency_penalty", 0, -2, 2)));
  if (const auto seed = r.OptionalInteger("seed", INT64_MIN, INT64_MAX)) {
    s.set_seed(static_cast<uint64_t>(*seed));
  }
  // Beyond OpenAI's API, under the names that other servers use.
  s.set_top_k(static_cast<uint32_t>(r.Integer("top_k", 0, 0, kMaxTokens)));
  s.set_min_p(static_cast<float>(r.Number("min_p", 0, 0, 1)));
  s.set_repetition_penalty(static_cast<float>(r.NumberAbove("repetition_penalty", 1, 0, 10)));
  s.set_min_tokens(static_cast<uint32_t>(r.Integer("min_tokens", 0, 0, kMaxTokens)));
  s.set_ignore_eos(r.Bool("ignore_eos", false));
  ReadStopTokens(r, s);
  ReadStop(r, out.submit);
  ReadLogitBias(r, s);
  out.choices = static_cast<uint32_t>(r.Integer("n", 1, 1, limits.max_choices));
  out.best_of = out.choices;
  ReadPriority(r, out);
  out.stream = r.Bool("stream", false);
  if (const json* options = r.Get("stream_options")) {
    if (!options->is_object()) {
      r.Fail(r.WrongType("stream_options", "an object", *options));
    } else if (!out.stream) {
      r.Fail(
          ParamError("stream_options", "invalid_value",
                     "The 'stream_options' parameter is only allowed when 'stream' is enabled."));
    } else {
      ParamReader inner(*options, "stream_options");
      out.include_usage = inner.Bool("include_usage", false);
      inner.Ignore("include_obfuscation");  // chunks are never padded here
      r.Fail(inner.Finish());
    }
  }
  out.user = r.Text("user", "", 512);
}

void ReadPriority(ParamReader& r, GenerationRequest& out) {
  out.priority_given = r.Get("priority") != nullptr;
  const std::string name = r.Text("priority", "normal", 16);
  int32_t priority = 0;
  if (identity::ParsePriority(name, priority)) return out.submit.set_priority(priority);
  r.Fail(ParamError("priority", "invalid_value",
                    "Invalid value for 'priority': expected 'low', 'normal' or 'high'."));
}

void SetMaxTokens(GenerationRequest& out, std::optional<int64_t> given, int64_t fallback) {
  out.max_tokens_given = given.has_value();
  out.submit.mutable_sampling()->set_max_tokens(static_cast<uint32_t>(given.value_or(fallback)));
}

absl::Status CheckMinTokens(const GenerationRequest& request) {
  const v1::SamplingParams& s = request.submit.sampling();
  if (s.min_tokens() <= s.max_tokens()) return absl::OkStatus();
  return ParamError("min_tokens", "invalid_value",
                    fmt::format("Invalid 'min_tokens': {} is more than 'max_tokens', {}.",
                                s.min_tokens(), s.max_tokens()));
}

}  // namespace weft::gateway
