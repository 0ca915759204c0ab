// What goes into the engine and what comes out of a step. Plain data: no locks, no wire format.
#pragma once

#include <absl/status/status.h>

#include <chrono>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "libs/base/clock.h"
#include "libs/kv/prefix_key.h"
#include "libs/sampling/params.h"

namespace weft::engine {

using sampling::SamplingParams;
using sampling::TokenLogprob;

// One sequence to run. Tokens made by earlier attempts are kept apart from the prompt: everything
// the engine does next is a function of the item and the tokens so far, so a resumed sequence goes
// on exactly where it was (penalties, random numbers, finish rules).
struct WorkItem {
  uint64_t id = 0;              // the caller's, opaque; unique among the items in the engine
  uint32_t attempt = 1;         // echoed
  std::vector<int32_t> prompt;  // at least one token
  std::vector<int32_t> output;  // made by earlier attempts; may be empty
  SamplingParams sampling;      // seed resolved; max_tokens counts `output` too
  uint32_t choice = 0;          // which of a request's n choices: part of the random key
  uint64_t share_key = 0;       // whom the tokens are charged to
  double weight = 1.0;          // of the share key, > 0
  int32_t priority = 0;         // higher goes first
  std::optional<SteadyTime> deadline;
  std::string kv_salt;  // cached prefixes are shared within one salt only
};

enum class FinishReason : uint8_t {
  kStop,       // end-of-sequence token or stop id; that token is the last of the output
  kLength,     // max_tokens, or the context (or the whole KV cache) is full
  kCancelled,  // Cancel() or Stop()
  kError,      // see the error
};
const char* FinishReasonName(FinishReason reason);

// New tokens of one sequence. They lie in StepOutput::tokens.
struct StepRow {
  uint64_t id = 0;
  uint32_t attempt = 0;
  uint32_t first_index = 0;  // output index of the first token, counting WorkItem::output
  uint32_t token_begin = 0;  // into StepOutput::tokens
  uint32_t token_count = 0;
  uint32_t logprob_begin = 0;  // into StepOutput::logprobs
  uint32_t logprob_count = 0;  // token_count where the item asked for logprobs, else 0
};

// Log probabilities of prompt tokens of one sequence, in StepOutput::prompt_logprobs.
struct PromptRow {
  uint64_t id = 0;
  uint32_t attempt = 0;
  uint32_t first_position = 0;  // of the first one's token in the prompt; >= 1
  uint32_t begin = 0;           // into StepOutput::prompt_logprobs
  uint32_t count = 0;
};

// The sequence left the queue and began to run. Once per item, also when it is preempted later.
struct StepStart {
  uint64_t id = 0;
  uint32_t attempt = 0;
  uint32_t cached_prompt_tokens = 0;
  std::chrono::microseconds queue_time{0};
};

// The sequence ended: nothing about this id follows. Its last token, if any, is in the same
// output's rows.
struct StepFinish {
  uint64_t id = 0;
  uint32_t attempt = 0;
  FinishReason reason = FinishReason::kStop;
  absl::Status error;  // not OK only with kError; the message begins with the field at fault
  uint32_t prompt_tokens = 0;
  uint32_t output_tokens = 0;  // counting WorkItem::output
  uint32_t cached_prompt_tokens = 0;
  uint32_t preemptions = 0;
  std::chrono::microseconds queue_time{0};    // Submit to start
  std::chrono::microseconds prefill_time{0};  // start to the first new token
  std::chrono::microseconds decode_time{0};   // first new token to the end
};

// As weft.v1.EngineStats. Counters are since the engine was made.
struct EngineStats {
  uint32_t running = 0;
  uint32_t waiting = 0;  // submitted or preempted, not running
  uint32_t kv_blocks_total = 0;
  uint32_t kv_blocks_free = 0;    // free, or cached and evictable at once
  uint32_t kv_blocks_cached = 0;  // in the prefix tree, used by no sequence
  uint64_t steps = 0;
  uint64_t layer_progress = 0;       // counts layers run: moves even inside a long prefill
  double step_ms = 0.0;              // moving average
  uint64_t prompt_tokens = 0;        // prompt tokens of started items, cached ones included
  uint64_t output_tokens = 0;        // sampled here
  uint64_t prefix_query_tokens = 0;  // tokens that starts looked up in the prefix cache
  uint64_t prefix_hit_tokens = 0;    // of those, found
  uint64_t preemptions = 0;
  uint64_t evictions = 0;  // KV blocks thrown out of the prefix tree
  uint64_t failures = 0;   // forward passes that failed
  // Steps of a device. A gap is the time between two steps of which the second was on its way
  // before the first was over.
  double device_seconds = 0.0;
  double gap_seconds = 0.0;
  uint64_t gaps = 0;
};

// What one step did, for all sequences. Reused by the loop: copy what must outlive the sink call.
struct StepOutput {
  uint64_t step = 0;
  std::vector<StepRow> rows;
  std::vector<int32_t> tokens;
  std::vector<TokenLogprob> logprobs;
  std::vector<PromptRow> prompt_rows;  // who asked for them; before the sequence's first row
  std::vector<TokenLogprob> prompt_logprobs;
  std::vector<StepStart> starts;
  std::vector<StepFinish> finishes;

  kv::KvEvents kv_events;                     // empty() when nothing changed
  std::optional<kv::KvSnapshot> kv_snapshot;  // set after RequestKvSnapshot()
  EngineStats stats;

  // For histograms, in seconds: one value per first token, per later token.
  std::vector<double> ttft_seconds;  // Submit to first new token
  std::vector<double> itl_seconds;   // between a sequence's tokens
  uint32_t prefill_rows = 0;         // tokens run through the model in this step, by kind
  uint32_t decode_rows = 0;
  uint32_t sequences = 0;  // that took part in it
  std::chrono::microseconds duration{0};
  std::optional<double> gap_seconds;  // of a device before this step, see EngineStats

  // Not OK: the model is gone for good (ModelRunner::health). No step follows, and those whose work
  // was here have been told nothing: it can go on elsewhere.
  absl::Status model_gone;

  std::span<const int32_t> Tokens(const StepRow& row) const {
    return std::span(tokens).subspan(row.token_begin, row.token_count);
  }
  std::span<const TokenLogprob> Logprobs(const StepRow& row) const {
    return std::span(logprobs).subspan(row.logprob_begin, row.logprob_count);
  }
  std::span<const TokenLogprob> Logprobs(const PromptRow& row) const {
    return std::span(prompt_logprobs).subspan(row.begin, row.count);
  }
  // Nothing to tell anybody (stats and events included).
  bool idle() const;
  void Clear();
};

}  // namespace weft::engine
