#include "libs/model/rank_link.h"

#include <algorithm>

#include "libs/base/status.h"
#include "libs/comm/communicator.h"

namespace weft {

absl::Status RankLink::Sum(std::span<float> data) {
  return rank_.stage->size() == 1 ? absl::OkStatus() : rank_.stage->AllReduceSum(data);
}

absl::Status RankLink::Receive(std::span<float> x, std::span<float> delta) {
  const int from = rank_.plan.rank - rank_.plan.group.tensor;
  WEFT_RETURN_IF_ERROR(rank_.all->Recv(x, from));
  return rank_.all->Recv(delta, from);
}

absl::Status RankLink::Pass(std::span<const float> x, std::span<const float> delta) {
  const int to = rank_.plan.rank + rank_.plan.group.tensor;
  WEFT_RETURN_IF_ERROR(rank_.all->Send(x, to));
  return rank_.all->Send(delta, to);
}

absl::Status RankLink::GatherLogits(int64_t rows, const Compute& compute, std::span<float> logits) {
  const Slice& own = rank_.plan.vocab;
  const int64_t ranks = rank_.plan.group.tensor;
  if (ranks == 1) {
    if (rows > 0) compute(0, rows, logits.data());
    return absl::OkStatus();
  }
  const int64_t most =
      (own.total + ranks - 1) / ranks;  // columns of a rank; the last may have less
  const bool first_rank = rank_.plan.tensor_rank() == 0;
  for (int64_t first = 0; first < rows; first += kRowsAtOnce) {
    const int64_t count = std::min(kRowsAtOnce, rows - first);
    part_.resize(static_cast<size_t>(count * most));
    gathered_.resize(first_rank ? part_.size() * static_cast<size_t>(ranks) : 0);
    compute(first, count, part_.data());
    WEFT_RETURN_IF_ERROR(rank_.stage->AllGather(part_, gathered_));
    if (!first_rank) continue;
    for (int64_t rank = 0; rank < ranks; ++rank) {
      const float* from = gathered_.data() + rank * count * most;
      const int64_t columns = std::min(most, own.total - rank * most);
      for (int64_t row = 0; row < count; ++row) {
        std::copy_n(from + row * columns, columns,
                    logits.data() + (first + row) * own.total + rank * most);
      }
    }
  }
  return absl::OkStatus();
}

}  // namespace weft
