// One work item on its way through the engine.
#pragma once

#include <absl/status/status.h>

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "libs/engine/types.h"
#include "libs/kv/kv_cache.h"

namespace weft::engine {

struct Sequence {
  WorkItem item;                // prompt and output have moved to `tokens`
  std::vector<int32_t> tokens;  // prompt, then output
  size_t prompt_size = 0;
  int32_t computed = 0;  // leading tokens whose keys and values are in `kv`
  kv::SequenceKv kv;
  bool running = false;
  uint64_t admitted = 0;  // number of the latest admission
  uint64_t serial = 0;    // of the engine's sequences, never used again

  // Tokens that steps on their way to a device choose: they exist, and are not known here. While
  // the next step is planned there is at most one; which answer of its step it is.
  int32_t pending = 0;
  int32_t pending_answer = -1;

  SteadyTime submitted;
  std::optional<SteadyTime> started;      // first admission
  std::optional<SteadyTime> first_token;  // the first made here
  SteadyTime last_token;
  uint32_t cached_prompt_tokens = 0;  // at the first admission
  int32_t prompt_scored = 0;          // prompt tokens whose log probability was reported
  uint32_t preemptions = 0;

  Sequence(WorkItem work, SteadyTime now);
  int32_t known() const { return static_cast<int32_t>(tokens.size()); }
  int32_t ahead() const { return known() + pending; }
  // Whether log probabilities of the prompt are still to be reported.
  bool scores_prompt() const {
    return item.sampling.prompt_logprobs && prompt_scored + 1 < static_cast<int32_t>(prompt_size);
  }
  // Tokens that may be taken from the cache: the last one, and those whose logits are wanted, are
  // computed.
  int32_t cacheable() const { return scores_prompt() ? prompt_scored : known() - 1; }
  // Whether the row of this position yields a prompt token's log probability: that of the next.
  bool scores_at(int32_t position) const {
    return scores_prompt() && position >= prompt_scored &&
           position + 1 < static_cast<int32_t>(prompt_size);
  }
  std::span<const int32_t> prompt() const { return std::span(tokens).first(prompt_size); }
  std::span<const int32_t> output() const { return std::span(tokens).subspan(prompt_size); }
};

// What the engine can take.
struct SequenceLimits {
  int32_t vocab_size = 0;
  int32_t max_context = 0;  // prompt and output together
  std::vector<int32_t> eos_ids;
};

inline constexpr size_t kMaxKvSaltBytes = 256;

// INVALID_ARGUMENT whose message begins with the field at fault; FieldOf() gives it too.
absl::Status ValidateItem(const WorkItem& item, const SequenceLimits& limits);

// Whether the output so far ends the sequence: a function of the item and its tokens only.
std::optional<FinishReason> FinishRule(const Sequence& sequence, const SequenceLimits& limits);

}  // namespace weft::engine
