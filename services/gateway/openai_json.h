// The JSON of OpenAI's answers: whole objects and stream chunks.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "libs/scan/finding.h"
#include "services/gateway/generation.h"

namespace weft::gateway {

// What all chunks and the whole answer of one request share.
struct AnswerFacts {
  bool chat = true;  // else a completion
  bool stream = false;
  bool include_usage = false;
  std::string id;  // "chatcmpl-…"
  int64_t created = 0;
  std::string model;
  std::string model_version;      // becomes system_fingerprint
  std::string_view service_tier;  // that the request had; a literal. Empty: it asked for none
};

std::string NewAnswerId(bool chat);

// "stop", "length", "content_filter"
std::string_view FinishReasonName(v1::FinishReason reason);

// Each is a JSON object; Event makes "data: …\n\n" of it.
std::string RoleChunk(const AnswerFacts& facts, uint32_t choice);
std::string TextChunk(const AnswerFacts& facts, uint32_t choice, std::string_view text,
                      std::span<const v1::TokenLogprob> logprobs, bool with_logprobs,
                      uint64_t text_offset);
std::string FinishChunk(const AnswerFacts& facts, const ChoiceEnd& end);
std::string UsageChunk(const AnswerFacts& facts, const v1::Usage& usage);
std::string Event(std::string_view json);

struct WholeChoice {
  std::string text;
  std::vector<v1::TokenLogprob> logprobs;
  std::vector<v1::TokenLogprob> prompt_logprobs;
  bool with_logprobs = false;
  uint64_t text_offset = 0;
  v1::FinishReason reason = v1::FINISH_REASON_UNSPECIFIED;
  std::string weft;  // the extension object, or empty
};
std::string WholeAnswer(const AnswerFacts& facts, std::span<const WholeChoice> choices,
                        const v1::Usage& usage, const std::string& weft);

// {"content_filter":{rule,type,line,message},"findings":[…]}; empty when there is nothing to say.
std::string WeftExtension(std::span<const scan::Finding> findings, const scan::Finding* blocked_by);
// {"prompt_findings":[…],"prompt_redacted":…,"prompt_sanitized":…}; empty likewise.
std::string WeftPromptExtension(const Totals& totals);

std::string ModelJson(const v1::ModelInfo& model);

}  // namespace weft::gateway
