#include "services/gateway/prompt_text.h"

namespace weft::gateway {
namespace {

// The texts that a request brings; `visit` may change them.
template <typename Visit>
void ForEachText(v1::Submit& input, const Visit& visit) {
  if (input.has_prompt()) visit(*input.mutable_prompt());
  if (input.has_chat()) {
    for (v1::ChatMessage& message : *input.mutable_chat()->mutable_messages()) {
      visit(*message.mutable_content());
    }
  }
  if (!input.has_fill_in()) return;
  v1::FillIn& fill = *input.mutable_fill_in();
  visit(*fill.mutable_prefix());
  visit(*fill.mutable_suffix());
  visit(*fill.mutable_middle());
  for (v1::ExtraFile& file : *fill.mutable_extra()) visit(*file.mutable_text());
}

template <typename Visit>
void ForEachText(GenerationRequest& request, const Visit& visit) {
  ForEachText(request.submit, visit);
  for (v1::Submit& input : request.inputs) ForEachText(input, visit);
}

}  // namespace

bool HasText(GenerationRequest& request) {
  bool any = false;
  ForEachText(request, [&](const std::string&) { any = true; });
  return any;
}

std::string PromptText(GenerationRequest& request) {
  std::string text;
  ForEachText(request, [&](const std::string& part) { text.append(part).append("\n"); });
  return text;
}

std::vector<std::string*> PromptParts(GenerationRequest& request) {
  std::vector<std::string*> parts;
  ForEachText(request, [&](std::string& part) { parts.push_back(&part); });
  return parts;
}

void RedactPrompt(std::span<const scan::Finding> findings, GenerationRequest& request) {
  uint64_t begin = 0;
  ForEachText(request, [&](std::string& part) {
    const uint64_t next = begin + part.size() + 1;
    part = scan::Redact(part, begin, findings);
    begin = next;
  });
}

}  // namespace weft::gateway
