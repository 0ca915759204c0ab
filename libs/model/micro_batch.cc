#include "libs/model/micro_batch.h"

#include <algorithm>

namespace weft {
namespace {

StepBatch Part(const StepBatch& batch, int32_t first, int32_t end) {
  const auto rows = [&](const auto& all) {
    return std::decay_t<decltype(all)>(all.begin() + first, all.begin() + end);
  };
  StepBatch part{.tokens = rows(batch.tokens),
                 .positions = rows(batch.positions),
                 .cache_slots = rows(batch.cache_slots),
                 .wants_logits = rows(batch.wants_logits),
                 .sequences = {}};
  for (const StepBatch::Sequence& sequence : batch.sequences) {
    const int32_t from = std::max(first, sequence.first_row);
    const int32_t sequence_end = sequence.first_row + sequence.rows;
    const int32_t to = std::min(end, sequence_end);
    if (from >= to) continue;
    StepBatch::Sequence own = sequence;
    own.first_row = from - first;
    own.rows = to - from;
    own.context_tokens -= sequence_end - to;
    part.sequences.push_back(own);
  }
  return part;
}

}  // namespace

std::vector<StepBatch> CutBatch(const StepBatch& batch, int32_t parts, int32_t least_rows) {
  const int32_t rows = batch.rows();
  const int32_t count = std::clamp(rows / std::max(least_rows, 1), 1, std::max(parts, 1));
  std::vector<StepBatch> cut;
  for (int64_t i = 0; i < count; ++i) {
    cut.push_back(Part(batch, static_cast<int32_t>(rows * i / count),
                       static_cast<int32_t>(rows * (i + 1) / count)));
  }
  return cut;
}

}  // namespace weft
