#include "libs/model/model_rank.h"

#include <algorithm>
#include <exception>
#include <utility>

#include "libs/base/status.h"
#include "libs/model/micro_batch.h"

namespace weft {
namespace {

// Rows of a pipeline's micro-batch: each reads the weights once.
constexpr int32_t kMicroBatchRows = 128;

size_t WantedRows(const StepBatch& batch) {
  return static_cast<size_t>(std::count_if(batch.wants_logits.begin(), batch.wants_logits.end(),
                                           [](uint8_t wants) { return wants != 0; }));
}

}  // namespace

RankStep::RankStep(const StepBatch& batch, int32_t stages) : batch_(batch) {
  size_t blocks = 0;
  for (const StepBatch::Sequence& s : batch.sequences) blocks += static_cast<size_t>(s.blocks);
  tables_.reserve(blocks);
  for (StepBatch::Sequence& s : batch_.sequences) {
    tables_.insert(tables_.end(), s.block_table, s.block_table + s.blocks);
    s.block_table = tables_.data() + tables_.size() - s.blocks;
  }
  parts_ = CutBatch(batch_, stages, kMicroBatchRows);
}

void ModelRank::SetGroups(std::unique_ptr<comm::Communicator> all_ranks,
                          std::unique_ptr<comm::Communicator> stage_ranks) {
  all = std::move(all_ranks);
  stage = std::move(stage_ranks);
  shard.all = all.get();
  shard.stage = stage == nullptr ? all.get() : stage.get();
}

absl::Status ModelRank::Compute(const RankStep& step, std::span<float> out, size_t vocab) {
  const ShardPlan& plan = shard.plan;
  const int source = plan.group.ranks() - plan.group.tensor;  // first rank of the last stage
  size_t wanted = 0;
  for (const StepBatch& part : step.parts()) wanted += WantedRows(part);
  std::span<float> own = out;
  if (source != 0 && plan.rank == source) {
    logits_.resize(wanted * vocab);
    own = logits_;
  }
  const bool gets = plan.rank == source;
  size_t first = 0;
  for (const StepBatch& part : step.parts()) {
    const size_t count = gets ? WantedRows(part) * vocab : 0;
    WEFT_RETURN_IF_ERROR(model->Step(part, gets ? own.subspan(first, count) : std::span<float>()));
    first += count;
  }
  if (source == 0 || wanted == 0) return absl::OkStatus();
  if (gets) return all->Send(own, 0);
  return plan.rank == 0 ? all->Recv(out.first(wanted * vocab), source) : absl::OkStatus();
}

absl::Status ModelRank::Run(const RankStep& step, std::span<float> out, size_t vocab) {
  absl::Status status;
  try {
    status = Compute(step, out, vocab);
  } catch (const std::exception& error) {  // no memory for activations
    status = ResourceExhausted("{}", error.what());
  }
  if (!status.ok()) all->Abort(status);
  return status;
}

}  // namespace weft
