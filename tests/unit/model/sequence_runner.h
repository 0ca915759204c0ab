// Runs token sequences through a model: pages, slots and batches.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <numeric>
#include <vector>

#include "libs/base/status.h"
#include "libs/model/model.h"

namespace weft::test {

// Sequences of one model, each with its own pages (taken in a scattered order). Ask for steps; get
// logits. CHECKs that every step succeeds.
class SequenceRunner {
 public:
  SequenceRunner(ModelRunner& model, int32_t sequences, int32_t max_tokens,
                 int32_t block_tokens = kBlockTokens)
      : model_(model), block_tokens_(block_tokens), states_(static_cast<size_t>(sequences)) {
    const int32_t blocks = (max_tokens + block_tokens - 1) / block_tokens;
    WEFT_CHECK(model.AllocateKv(blocks * sequences, block_tokens).ok());
    for (int32_t b = 0; b < blocks; ++b) {
      for (int32_t s = sequences - 1; s >= 0; --s) {
        states_[static_cast<size_t>(s)].table.push_back(b * sequences + (sequences - 1 - s));
      }
    }
  }

  // Queues rows of one sequence for the next step.
  void Add(int32_t sequence, const std::vector<int32_t>& tokens, bool all_logits = true) {
    State& state = states_[static_cast<size_t>(sequence)];
    const auto rows = static_cast<int32_t>(tokens.size());
    batch_.sequences.push_back({batch_.rows(), rows, state.table.data(),
                                static_cast<int32_t>(state.table.size()), state.length + rows});
    for (int32_t i = 0; i < rows; ++i) {
      const int32_t position = state.length + i;
      batch_.tokens.push_back(tokens[static_cast<size_t>(i)]);
      batch_.positions.push_back(position);
      batch_.cache_slots.push_back(state.table[static_cast<size_t>(position / block_tokens_)] *
                                       block_tokens_ +
                                   position % block_tokens_);
      batch_.wants_logits.push_back(all_logits || i + 1 == rows ? 1 : 0);
    }
    state.length += rows;
  }

  // The logits of all queued rows that want them.
  std::vector<float> Step() {
    const int64_t wanted =
        std::accumulate(batch_.wants_logits.begin(), batch_.wants_logits.end(), int64_t{0});
    std::vector<float> logits(static_cast<size_t>(wanted * model_.config().vocab));
    const absl::Status status = model_.Forward(batch_, logits);
    batch_.Clear();
    WEFT_CHECK(status.ok());
    return logits;
  }

  StepBatch& batch() { return batch_; }

 private:
  struct State {
    std::vector<int32_t> table;
    int32_t length = 0;
  };
  ModelRunner& model_;
  int32_t block_tokens_;
  std::vector<State> states_;
  StepBatch batch_;
};

// The logits of every position of one sequence that is fed `chunk` tokens at a time.
inline std::vector<float> LogitsInChunks(ModelRunner& model, const std::vector<int32_t>& tokens,
                                         size_t chunk, int32_t block_tokens) {
  SequenceRunner runner(model, 1, static_cast<int32_t>(tokens.size()), block_tokens);
  std::vector<float> logits;
  for (size_t i = 0; i < tokens.size(); i += chunk) {
    const auto begin = tokens.begin() + static_cast<int64_t>(i);
    runner.Add(0, {begin, begin + static_cast<int64_t>(std::min(chunk, tokens.size() - i))});
    const std::vector<float> part = runner.Step();
    logits.insert(logits.end(), part.begin(), part.end());
  }
  return logits;
}

inline bool SameBits(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

}  // namespace weft::test
