// /v1/completions and /infill: prompts that are continued or filled in as they are.
#include <nlohmann/json.hpp>
#include <utility>

#include "libs/base/error_info.h"
#include "libs/base/status.h"
#include "libs/scan/policy.h"
#include "services/gateway/api_error.h"
#include "services/gateway/param_reader.h"
#include "services/gateway/request_params.h"

namespace weft::gateway {
namespace {

using nlohmann::json;

constexpr size_t kMaxExtraFiles = 1024;
constexpr size_t kMaxFileName = 4096;
constexpr size_t kMaxResponseFields = 64;
// Of /infill without n_predict (-1 there: as many as fit).
constexpr int64_t kInfillTokens = 128;

void ReadTokenIds(ParamReader& r, const json& ids, v1::Submit& out) {
  for (const json& id : ids) {
    if (!IsTokenId(id)) {
      return r.Fail(ParamError("prompt", "invalid_value",
                               "Invalid 'prompt': token ids are integers from 0."));
    }
    out.mutable_tokens()->add_ids(static_cast<uint32_t>(id.get<uint64_t>()));
  }
}

// A string, an array of token ids, or an array of several of one of them.
void ReadPrompts(ParamReader& r, const RequestLimits& limits, GenerationRequest& out) {
  const json* prompt = r.Get("prompt");
  // OpenAI's default is the beginning of a document, which the empty prompt is too.
  if (prompt == nullptr) return out.submit.set_prompt("");
  const auto wrong = [&] {
    r.Fail(r.WrongType("prompt",
                       "a string, an array of token ids, an array of strings or an array of arrays "
                       "of token ids",
                       *prompt));
  };
  if (prompt->is_string()) return out.submit.set_prompt(prompt->get<std::string>());
  if (!prompt->is_array() || prompt->empty()) return wrong();
  if (prompt->front().is_number()) return ReadTokenIds(r, *prompt, out.submit);
  if (prompt->size() > limits.max_prompts) {
    return r.Fail(ParamError(
        "prompt", "array_above_max_length",
        fmt::format("Invalid 'prompt': array too long. Expected an array with maximum length {}, "
                    "but got an array with length {} instead.",
                    limits.max_prompts, prompt->size())));
  }
  for (const json& item : *prompt) {
    if (item.type() != prompt->front().type()) return wrong();
    v1::Submit& input = out.inputs.emplace_back();
    if (item.is_string()) {
      input.set_prompt(item.get<std::string>());
    } else if (item.is_array() && !item.empty()) {
      ReadTokenIds(r, item, input);
    } else {
      return wrong();
    }
  }
  if (out.inputs.size() > 1) return;
  out.submit = std::move(out.inputs.front());
  out.inputs.clear();
}

absl::Status CheckPrompt(const RequestLimits& limits, v1::Submit& input, GenerationRequest& out) {
  if (!input.has_prompt()) return absl::OkStatus();
  return LimitPrompt(static_cast<uint64_t>(limits.max_prompt_characters), limits, "prompt",
                     *input.mutable_prompt(), out);
}

void ReadBestOf(ParamReader& r, const RequestLimits& limits, GenerationRequest& out) {
  out.best_of = static_cast<uint32_t>(
      r.Integer("best_of", std::max<int64_t>(1, out.choices), 1, limits.max_choices));
  if (out.best_of < out.choices) {
    r.Fail(ParamError(
        "best_of", "invalid_value",
        fmt::format("Invalid 'best_of': {} is less than 'n', {}.", out.best_of, out.choices)));
  }
  if (out.best_of == out.choices) return;
  if (out.stream) {
    r.Fail(ParamError("best_of", "invalid_value",
                      "Invalid 'best_of': the best cannot be chosen while they are streamed."));
  }
  // They are ranked by them.
  out.submit.mutable_sampling()->set_logprobs(true);
}

void ReadExtraFiles(ParamReader& r, v1::FillIn& fill) {
  const json* extra = r.Get("input_extra");
  if (extra == nullptr) return;
  if (!extra->is_array()) {
    return r.Fail(r.WrongType("input_extra", "an array of {filename, text}", *extra));
  }
  if (extra->size() > kMaxExtraFiles) {
    return r.Fail(
        ParamError("input_extra", "array_above_max_length",
                   fmt::format("Invalid 'input_extra': at most {} files.", kMaxExtraFiles)));
  }
  for (size_t i = 0; i < extra->size(); ++i) {
    const std::string path = fmt::format("input_extra[{}]", i);
    if (!(*extra)[i].is_object()) return r.Fail(r.WrongType(path, "an object", (*extra)[i]));
    ParamReader file((*extra)[i], path);
    v1::ExtraFile& out = *fill.add_extra();
    out.set_text(file.RequiredText("text", kAnyLength));
    out.set_filename(file.Text("filename", "", kMaxFileName));
    file.IgnoreRest();  // plug-ins send the time and more
    r.Fail(file.Finish());
  }
}

void ReadResponseFields(ParamReader& r, GenerationRequest& out) {
  const json* fields = r.Get("response_fields");
  if (fields == nullptr) return;
  const bool strings = fields->is_array() && fields->size() <= kMaxResponseFields &&
                       std::all_of(fields->begin(), fields->end(),
                                   [](const json& field) { return field.is_string(); });
  if (!strings) {
    return r.Fail(r.WrongType("response_fields",
                              fmt::format("an array of at most {} strings", kMaxResponseFields),
                              *fields));
  }
  for (const json& field : *fields) out.response_fields.push_back(field.get<std::string>());
}

// All parts together: what is too long is cut to the model's context by the scheduler, so that this
// limit only bounds what is sent there.
absl::Status CheckFillIn(const RequestLimits& limits, std::string_view prefix_field,
                         std::string_view suffix_field, GenerationRequest& out) {
  v1::FillIn& fill = *out.submit.mutable_fill_in();
  const auto most = static_cast<uint64_t>(limits.max_prompt_characters);
  WEFT_RETURN_IF_ERROR(LimitPrompt(most, limits, prefix_field, *fill.mutable_prefix(), out));
  uint64_t left = most - std::min(most, scan::CountCharacters(fill.prefix()));
  WEFT_RETURN_IF_ERROR(LimitPrompt(left, limits, suffix_field, *fill.mutable_suffix(), out));
  left -= std::min(left, scan::CountCharacters(fill.suffix()));
  WEFT_RETURN_IF_ERROR(LimitPrompt(left, limits, "prompt", *fill.mutable_middle(), out));
  left -= std::min(left, scan::CountCharacters(fill.middle()));
  for (v1::ExtraFile& file : *fill.mutable_extra()) {
    WEFT_RETURN_IF_ERROR(LimitPrompt(left, limits, "input_extra", *file.mutable_text(), out));
    left -= std::min(left, scan::CountCharacters(file.text()));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<GenerationRequest> ParseCompletionRequest(const json& body,
                                                         const RequestLimits& limits) {
  WEFT_RETURN_IF_ERROR(NeedObject(body));
  GenerationRequest out;
  out.kind = ApiKind::kCompletion;
  ParamReader r(body, "");
  ReadPrompts(r, limits, out);
  out.submit.set_model(r.RequiredText("model", kMaxModelName));
  ReadSampling(r, limits, out);
  SetMaxTokens(out, r.OptionalInteger("max_tokens", 0, kMaxTokens).value_or(16), 16);
  v1::SamplingParams& sampling = *out.submit.mutable_sampling();
  if (const auto logprobs = r.OptionalInteger("logprobs", 0, 20)) {
    out.show_logprobs = true;
    sampling.set_logprobs(true);
    sampling.set_top_logprobs(static_cast<uint32_t>(*logprobs));
  }
  out.echo = r.Bool("echo", false);
  sampling.set_prompt_logprobs(out.echo && out.show_logprobs);
  out.submit.set_want_prompt_text(out.echo);
  ReadBestOf(r, limits, out);
  const std::string suffix = r.Text("suffix", "", kAnyLength);
  if (!suffix.empty() && r.ok()) {
    if (!out.submit.has_prompt()) {
      r.Fail(ParamError("suffix", "invalid_value",
                        "Invalid 'suffix': it needs a 'prompt' that is one string."));
    } else {
      std::string prefix = std::move(*out.submit.mutable_prompt());
      out.submit.mutable_fill_in()->set_prefix(std::move(prefix));
      out.submit.mutable_fill_in()->set_suffix(suffix);
    }
  }
  WEFT_RETURN_IF_ERROR(r.Finish());
  if (out.submit.has_fill_in()) {
    WEFT_RETURN_IF_ERROR(CheckFillIn(limits, "prompt", "suffix", out));
  } else {
    WEFT_RETURN_IF_ERROR(CheckPrompt(limits, out.submit, out));
    for (v1::Submit& input : out.inputs) WEFT_RETURN_IF_ERROR(CheckPrompt(limits, input, out));
  }
  WEFT_RETURN_IF_ERROR(CheckMinTokens(out));
  return out;
}

absl::StatusOr<GenerationRequest> ParseInfillRequest(const json& body,
                                                     const RequestLimits& limits) {
  WEFT_RETURN_IF_ERROR(NeedObject(body));
  GenerationRequest out;
  out.kind = ApiKind::kInfill;
  ParamReader r(body, "");
  v1::FillIn& fill = *out.submit.mutable_fill_in();
  fill.set_prefix(r.RequiredText("input_prefix", kAnyLength));
  fill.set_suffix(r.RequiredText("input_suffix", kAnyLength));
  fill.set_middle(r.Text("prompt", "", kAnyLength));
  fill.set_filename(r.Text("filename", "", kMaxFileName));
  fill.set_repository(r.Text("repository", "", kMaxFileName));
  ReadExtraFiles(r, fill);
  out.submit.set_model(r.Text("model", limits.default_model, kMaxModelName));
  // The defaults of llama.cpp's server, whose clients count on them.
  v1::SamplingParams& s = *out.submit.mutable_sampling();
  const auto predict = r.OptionalInteger("n_predict", -1, kMaxTokens);
  const auto most = predict ? predict : r.OptionalInteger("max_tokens", -1, kMaxTokens);
  SetMaxTokens(out, most == -1 ? kMaxTokens : most, kInfillTokens);
  s.set_temperature(static_cast<float>(r.Number("temperature", 0.8, 0, 2)));
  s.set_top_k(static_cast<uint32_t>(r.Integer("top_k", 40, 0, kMaxTokens)));
  s.set_top_p(ReadTopP(r, 0.95));
  s.set_min_p(static_cast<float>(r.Number("min_p", 0.05, 0, 1)));
  s.set_repetition_penalty(static_cast<float>(r.NumberAbove("repeat_penalty", 1, 0, 10)));
  s.set_presence_penalty(static_cast<float>(r.Number("presence_penalty", 0, -2, 2)));
  s.set_frequency_penalty(static_cast<float>(r.Number("frequency_penalty", 0, -2, 2)));
  s.set_ignore_eos(r.Bool("ignore_eos", false));
  if (const auto seed = r.OptionalInteger("seed", -1, INT64_MAX); seed && *seed >= 0) {
    s.set_seed(static_cast<uint64_t>(*seed));
  }
  ReadStop(r, out.submit);
  out.choices = out.best_of = static_cast<uint32_t>(r.Integer("n_cmpl", 1, 1, limits.max_choices));
  ReadPriority(r, out);
  out.stream = r.Bool("stream", false);
  ReadResponseFields(r, out);
  r.IgnoreRest();  // slots, caching, samplers' order: as its server does with what it does not know
  WEFT_RETURN_IF_ERROR(r.Finish());
  WEFT_RETURN_IF_ERROR(CheckFillIn(limits, "input_prefix", "input_suffix", out));
  return out;
}

}  // namespace weft::gateway
