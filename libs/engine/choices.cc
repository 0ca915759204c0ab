#include "libs/engine/choices.h"

#include <algorithm>
#include <limits>

namespace weft::engine {

void ChoiceList::Clear() {
  rows_.clear();
  edits_.clear();
  fed_.clear();
  counted_.clear();
}

gpu::LogitEdit& ChoiceList::EditOf(int32_t token) {
  int32_t& place = place_[static_cast<size_t>(token)];
  if (place < 0) {
    place = static_cast<int32_t>(edits_.size());
    edits_.push_back({.token = token});
  }
  return edits_[static_cast<size_t>(place)];
}

void ChoiceList::Score(const Sequence& sequence, int32_t token) {
  rows_.push_back({.temperature = 0,
                   .logprobs = 1,
                   .top = static_cast<int32_t>(sequence.item.sampling.top_logprobs),
                   .given = token});
  counted_.push_back(-1);
}

void ChoiceList::Choose(const Sequence& s) {
  const SamplingParams& p = s.item.sampling;
  const size_t index = s.output().size() + static_cast<size_t>(s.pending);
  const size_t first = edits_.size();
  const bool repetition = p.repetition_penalty != 1.0F;
  const bool penalised = repetition || p.presence_penalty != 0.0F || p.frequency_penalty != 0.0F;
  if (place_.empty()) place_.assign(static_cast<size_t>(limits_.vocab_size), -1);

  for (const auto& [token, bias] : p.logit_bias) EditOf(token).bias += bias;
  if (repetition) {
    for (const int32_t token : s.prompt()) EditOf(token).repeated = 1;
  }
  if (penalised) {
    for (const int32_t token : s.output()) {
      gpu::LogitEdit& edit = EditOf(token);
      edit.repeated = 1;
      ++edit.count;
    }
  }
  if (index < p.min_tokens) {
    if (!p.ignore_eos) {
      for (const int32_t token : limits_.eos_ids) EditOf(token).banned = 1;
    }
    for (const int32_t token : p.stop_token_ids) EditOf(token).banned = 1;
  }
  for (size_t e = first; e < edits_.size(); ++e) {
    place_[static_cast<size_t>(edits_[e].token)] = -1;
  }
  const bool counts = penalised && s.pending > 0;
  if (counts) edits_.push_back({.token = -1});  // of the pending token, when it has no other
  counted_.push_back(counts ? s.pending_answer : -1);

  rows_.push_back({.seed = p.seed,
                   .choice = s.item.choice,
                   .output_index = static_cast<uint32_t>(index),
                   .temperature = p.temperature,
                   .top_p = p.top_p,
                   .min_p = p.min_p,
                   .repetition_penalty = p.repetition_penalty,
                   .presence_penalty = p.presence_penalty,
                   .frequency_penalty = p.frequency_penalty,
                   .top_k = static_cast<int32_t>(
                       std::min<uint32_t>(p.top_k, std::numeric_limits<int32_t>::max())),
                   .edits = static_cast<int32_t>(edits_.size() - first),
                   .first_edit = static_cast<int32_t>(first),
                   .logprobs = p.logprobs ? 1 : 0,
                   .top = p.logprobs ? static_cast<int32_t>(p.top_logprobs) : 0});
}

}  // namespace weft::engine
