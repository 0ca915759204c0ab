// What a device is told about choosing the tokens of a step: sampling::Sampler's input as rows and
// edits of libs/ops/sample_gpu.h.
#pragma once

#include <cstdint>
#include <vector>

#include "libs/engine/sequence.h"
#include "libs/model/device_steps.h"

namespace weft::engine {

// Of one step after the other. The limits must outlive it.
class ChoiceList {
 public:
  explicit ChoiceList(const SequenceLimits& limits) : limits_(limits) {}

  void Clear();
  // Of the next row of the batch: its token is that answer of the step before; -1: the batch's.
  void AddRow(int32_t fed) { fed_.push_back(fed); }
  // Of the next row that wants logits: the log probability of a token that is given,
  void Score(const Sequence& sequence, int32_t token);
  // or the next token of the sequence, after the pending one where there is one.
  void Choose(const Sequence& sequence);

  StepChoices view() const { return {rows_, edits_, fed_, counted_}; }
  size_t size() const { return rows_.size(); }

 private:
  gpu::LogitEdit& EditOf(int32_t token);

  const SequenceLimits& limits_;
  std::vector<gpu::SampleRow> rows_;
  std::vector<gpu::LogitEdit> edits_;
  std::vector<int32_t> fed_, counted_;
  std::vector<int32_t> place_;  // [vocab]: of a token's edit in the row in hand; -1
};

}  // namespace weft::engine
