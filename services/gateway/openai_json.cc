#include "services/gateway/openai_json.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <iterator>

#include "libs/base/ids.h"
#include "libs/scan/policy.h"
#include "libs/telemetry/json_text.h"

namespace weft::gateway {
namespace {

constexpr size_t kNoLimit = size_t{1} << 40;

void Quote(std::string& out, std::string_view text) {
  telemetry::AppendJsonString(out, text, kNoLimit);
}

// Everything up to the list of choices.
std::string Head(const AnswerFacts& f, std::string_view object) {
  std::string out = "{\"id\":";
  Quote(out, f.id);
  fmt::format_to(std::back_inserter(out), ",\"object\":\"{}\",\"created\":{},\"model\":", object,
                 f.created);
  Quote(out, f.model);
  out += ",\"system_fingerprint\":";
  if (f.model_version.empty()) {
    out += "null";
  } else {
    Quote(out, "fp_" + f.model_version);
  }
  if (!f.service_tier.empty()) {
    fmt::format_to(std::back_inserter(out), ",\"service_tier\":\"{}\"", f.service_tier);
  }
  return out;
}

std::string_view ChunkObject(const AnswerFacts& f) {
  return f.chat ? "chat.completion.chunk" : "text_completion";
}

// With include_usage every chunk has the member, and only the last one a value.
std::string_view ChunkTail(const AnswerFacts& f) {
  return f.include_usage ? ",\"usage\":null}" : "}";
}

// JSON has no infinity. OpenAI shows -9999 for what cannot be chosen, and null for a prompt's first
// token.
void Number(std::string& out, float logprob) {
  if (std::isnan(logprob)) {
    out += "null";
    return;
  }
  fmt::format_to(std::back_inserter(out), "{:.6g}", logprob > -9999.0F ? logprob : -9999.0F);
}

void ByteList(std::string& out, std::string_view bytes) {
  out += '[';
  for (size_t i = 0; i < bytes.size(); ++i) {
    if (i > 0) out += ',';
    out += std::to_string(static_cast<unsigned char>(bytes[i]));
  }
  out += ']';
}

void ChatEntry(std::string& out, std::string_view text, float logprob) {
  out += "{\"token\":";
  Quote(out, text);
  out += ",\"logprob\":";
  Number(out, logprob);
  out += ",\"bytes\":";
  ByteList(out, text);
}

void ChatLogprobs(std::string& out, std::span<const v1::TokenLogprob> entries) {
  out += "{\"content\":[";
  for (size_t i = 0; i < entries.size(); ++i) {
    const v1::TokenLogprob& entry = entries[i];
    if (i > 0) out += ',';
    ChatEntry(out, entry.text(), entry.logprob());
    out += ",\"top_logprobs\":[";
    const int top = std::min(entry.top_logprobs_size(), entry.top_texts_size());
    for (int k = 0; k < top; ++k) {
      if (k > 0) out += ',';
      ChatEntry(out, entry.top_texts(k), entry.top_logprobs(k));
      out += '}';
    }
    out += "]}";
  }
  out += "],\"refusal\":null}";
}

// A token that is no whole characters, such as half of one, is shown by its bytes, as OpenAI does:
// keys of one object must differ.
std::string Shown(std::string_view token) {
  if (telemetry::ValidUtf8(token, kNoLimit) == token) return std::string(token);
  std::string out = "bytes:";
  for (const char c : token) {
    fmt::format_to(std::back_inserter(out), "\\x{:02x}", static_cast<unsigned char>(c));
  }
  return out;
}

void CompletionLogprobs(std::string& out, std::span<const v1::TokenLogprob> entries,
                        uint64_t offset) {
  std::string tokens, values, tops, offsets;
  for (size_t i = 0; i < entries.size(); ++i) {
    const v1::TokenLogprob& entry = entries[i];
    const char* comma = i > 0 ? "," : "";
    tokens += comma;
    const std::string token = Shown(entry.text());
    Quote(tokens, token);
    values += comma;
    Number(values, entry.logprob());
    offsets += comma + std::to_string(offset);
    offset += scan::CountCharacters(entry.text());
    tops += comma;
    if (std::isnan(entry.logprob())) {
      tops += "null";
      continue;
    }
    tops += '{';
    const int top = std::min(entry.top_logprobs_size(), entry.top_texts_size());
    std::vector<std::string> seen;  // two tokens may have the same text
    const auto add = [&](std::string text, float logprob) {
      if (std::find(seen.begin(), seen.end(), text) != seen.end()) return;
      if (!seen.empty()) tops += ',';
      Quote(tops, text);
      tops += ':';
      Number(tops, logprob);
      seen.push_back(std::move(text));
    };
    for (int k = 0; k < top; ++k) add(Shown(entry.top_texts(k)), entry.top_logprobs(k));
    // The chosen token is always among them.
    if (top > 0) add(token, entry.logprob());
    tops += '}';
  }
  fmt::format_to(
      std::back_inserter(out),
      "{{\"tokens\":[{}],\"token_logprobs\":[{}],\"top_logprobs\":[{}],\"text_offset\":[{}]}}",
      tokens, values, tops, offsets);
}

void Logprobs(std::string& out, bool chat, bool asked, std::span<const v1::TokenLogprob> entries,
              uint64_t offset) {
  out += ",\"logprobs\":";
  if (!asked || entries.empty()) {
    out += "null";
  } else if (chat) {
    ChatLogprobs(out, entries);
  } else {
    CompletionLogprobs(out, entries, offset);
  }
}

void UsageObject(std::string& out, const v1::Usage& usage) {
  fmt::format_to(std::back_inserter(out),
                 "{{\"prompt_tokens\":{},\"completion_tokens\":{},\"total_tokens\":{},"
                 "\"prompt_tokens_details\":{{\"cached_tokens\":{},\"audio_tokens\":0}},"
                 "\"completion_tokens_details\":{{\"reasoning_tokens\":0,\"audio_tokens\":0,"
                 "\"accepted_prediction_tokens\":0,\"rejected_prediction_tokens\":0}}}}",
                 usage.prompt_tokens(), usage.completion_tokens(),
                 usage.prompt_tokens() + usage.completion_tokens(), usage.cached_prompt_tokens());
}

void FindingObject(std::string& out, const scan::Finding& f, bool with_match) {
  out += "{\"rule\":";
  Quote(out, f.rule);
  out += ",\"type\":";
  Quote(out, f.type);
  fmt::format_to(std::back_inserter(out),
                 ",\"category\":\"{}\",\"severity\":\"{}\",\"line\":{},\"message\":",
                 scan::Name(f.category), scan::Name(f.severity), f.line);
  Quote(out, f.message);
  if (with_match) {
    out += ",\"match\":";
    telemetry::AppendJsonString(out, f.match, 256);
  }
  out += '}';
}

void FindingList(std::string& out, std::span<const scan::Finding> findings) {
  constexpr size_t kMaxShown = 100;
  out += '[';
  for (size_t i = 0; i < std::min(findings.size(), kMaxShown); ++i) {
    if (i > 0) out += ',';
    FindingObject(out, findings[i], true);
  }
  out += ']';
}

}  // namespace

std::string NewAnswerId(bool chat) {
  static constexpr std::string_view kAlphabet =
      "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
  std::array<uint8_t, 29> bytes;
  RandomBytes(bytes);
  std::string id = chat ? "chatcmpl-" : "cmpl-";
  for (const uint8_t byte : bytes) id.push_back(kAlphabet[byte % 62]);
  return id;
}

std::string_view FinishReasonName(v1::FinishReason reason) {
  switch (reason) {
    case v1::FINISH_REASON_LENGTH:
      return "length";
    case v1::FINISH_REASON_CONTENT_FILTER:
      return "content_filter";
    default:
      return "stop";
  }
}

std::string Event(std::string_view json) {
  std::string out;
  out.reserve(json.size() + 8);
  return out.append("data: ").append(json).append("\n\n");
}

std::string RoleChunk(const AnswerFacts& f, uint32_t choice) {
  std::string out = Head(f, ChunkObject(f));
  fmt::format_to(std::back_inserter(out),
                 ",\"choices\":[{{\"index\":{},\"delta\":{{\"role\":\"assistant\",\"content\":\"\","
                 "\"refusal\":null}},\"logprobs\":null,\"finish_reason\":null}}]{}",
                 choice, ChunkTail(f));
  return out;
}

std::string TextChunk(const AnswerFacts& f, uint32_t choice, std::string_view text,
                      std::span<const v1::TokenLogprob> logprobs, bool with_logprobs,
                      uint64_t text_offset) {
  std::string out = Head(f, ChunkObject(f));
  fmt::format_to(std::back_inserter(out), ",\"choices\":[{{\"index\":{},", choice);
  out += f.chat ? "\"delta\":{\"content\":" : "\"text\":";
  Quote(out, text);
  if (f.chat) out += '}';
  Logprobs(out, f.chat, with_logprobs, logprobs, text_offset);
  out += ",\"finish_reason\":null}]";
  out += ChunkTail(f);
  return out;
}

std::string FinishChunk(const AnswerFacts& f, const ChoiceEnd& end) {
  std::string out = Head(f, ChunkObject(f));
  fmt::format_to(std::back_inserter(out),
                 ",\"choices\":[{{\"index\":{},{},\"logprobs\":null,\"finish_reason\":\"{}\"",
                 end.choice, f.chat ? "\"delta\":{}" : "\"text\":\"\"",
                 FinishReasonName(end.reason));
  out += "}]";
  const std::string weft = WeftExtension(end.findings, end.blocked_by);
  if (!weft.empty()) out += ",\"weft\":" + weft;
  out += ChunkTail(f);
  return out;
}

std::string UsageChunk(const AnswerFacts& f, const v1::Usage& usage) {
  std::string out = Head(f, ChunkObject(f));
  out += ",\"choices\":[],\"usage\":";
  UsageObject(out, usage);
  out += '}';
  return out;
}

std::string WholeAnswer(const AnswerFacts& f, std::span<const WholeChoice> choices,
                        const v1::Usage& usage, const std::string& weft) {
  std::string out = Head(f, f.chat ? "chat.completion" : "text_completion");
  out += ",\"choices\":[";
  for (size_t i = 0; i < choices.size(); ++i) {
    const WholeChoice& choice = choices[i];
    if (i > 0) out += ',';
    fmt::format_to(std::back_inserter(out), "{{\"index\":{},", i);
    out += f.chat ? "\"message\":{\"role\":\"assistant\",\"content\":" : "\"text\":";
    Quote(out, choice.text);
    if (f.chat) out += ",\"refusal\":null,\"annotations\":[]}";
    Logprobs(out, f.chat, choice.with_logprobs, choice.logprobs, choice.text_offset);
    fmt::format_to(std::back_inserter(out), ",\"finish_reason\":\"{}\"",
                   FinishReasonName(choice.reason));
    if (!choice.weft.empty()) out += ",\"weft\":" + choice.weft;
    out += '}';
  }
  out += "],\"usage\":";
  UsageObject(out, usage);
  if (!weft.empty()) out += ",\"weft\":" + weft;
  out += '}';
  return out;
}

std::string WeftExtension(std::span<const scan::Finding> findings,
                          const scan::Finding* blocked_by) {
  if (findings.empty() && blocked_by == nullptr) return {};
  std::string out = "{";
  if (blocked_by != nullptr) {
    out += "\"content_filter\":";
    // What was blocked is not shown: only where and by what.
    FindingObject(out, *blocked_by, false);
    return out + '}';
  }
  out += "\"findings\":";
  FindingList(out, findings);
  return out + '}';
}

std::string WeftPromptExtension(const Totals& totals) {
  if (totals.prompt_findings.empty()) return {};
  std::string out = "{\"prompt_findings\":";
  FindingList(out, totals.prompt_findings);
  out += totals.prompt_redacted ? ",\"prompt_redacted\":true" : ",\"prompt_redacted\":false";
  out += totals.prompt_sanitized ? ",\"prompt_sanitized\":true}" : ",\"prompt_sanitized\":false}";
  return out;
}

std::string ModelJson(const v1::ModelInfo& model) {
  std::string out = "{\"id\":";
  Quote(out, model.id());
  fmt::format_to(std::back_inserter(out),
                 ",\"object\":\"model\",\"created\":{},\"owned_by\":\"weft\",",
                 model.loaded_at_unix());
  out += "\"weft\":{\"version\":";
  Quote(out, model.version());
  out += ",\"architecture\":";
  Quote(out, model.architecture());
  out += ",\"quantization\":";
  Quote(out, model.quantization());
  fmt::format_to(
      std::back_inserter(out),
      ",\"parameter_count\":{},\"context_length\":{},\"vocab_size\":{},\"memory_bytes\":{}}}}}",
      model.parameter_count(), model.context_length(), model.vocab_size(), model.memory_bytes());
  return out;
}

}  // namespace weft::gateway
