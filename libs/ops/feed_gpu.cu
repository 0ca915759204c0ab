// See feed_gpu.h for what it does.
#include "libs/ops/feed_gpu.h"
#include "libs/ops/gpu_kernel.h"

namespace weft::gpu {

constexpr int kFeedThreads = 128;
constexpr int kFeedWarps = kFeedThreads / kWarp;

// A thread a row, then a warp a choice.
WEFT_KERNEL(kFeedThreads, 1) void FeedKernel(const WEFT_PARAMS FeedParams p) {
  const GlobalPtr<const int32_t> chosen(p.chosen);
  const int row = static_cast<int>(blockIdx.x * kFeedThreads + threadIdx.x);
  if (row < p.rows) {
    const int from = GlobalPtr<const int32_t>(p.fed)[row];
    if (from >= 0) {
      const int token = chosen[from];
      GlobalPtr<int32_t>(p.tokens)[row] = token < 0 ? 0 : token;
    }
  }
  const int choice = static_cast<int>(blockIdx.x) * kFeedWarps + WarpId();
  if (choice >= p.choices) return;
  const int from = GlobalPtr<const int32_t>(p.counted)[choice];
  if (from < 0) return;
  const int token = chosen[from];
  const GlobalPtr<SampleRow> of(p.of);
  SampleRow own = of[choice];
  const GlobalPtr<LogitEdit> edits = GlobalPtr<LogitEdit>(p.edits) + own.first_edit;
  const int spare = own.edits - 1;
  bool found = false;
  for (int base = 0; base < spare && !found; base += kWarp) {
    const int i = base + Lane();
    bool same = false;
    if (i < spare) {
      LogitEdit edit = edits[i];
      same = edit.token == token;
      if (same) {
        ++edit.count;
        edit.repeated = 1;
        edits[i] = edit;
      }
    }
    found = __any_sync(kAllLanes, same) != 0;
  }
  __syncwarp();  // all lanes have read what the first one writes
  if (Lane() != 0) return;
  if (found || token < 0) {
    --own.edits;
    of[choice] = own;
  } else {
    edits[spare] = LogitEdit{token, 0, 1, 1, 0, 0};
  }
}

LaunchResult Feed(const FeedParams& p, void* stream) {
  const int32_t row_blocks = (p.rows + kFeedThreads - 1) / kFeedThreads;
  const int32_t choice_blocks = (p.choices + kFeedWarps - 1) / kFeedWarps;
  const int32_t blocks = row_blocks > choice_blocks ? row_blocks : choice_blocks;
  if (blocks == 0) return {};
  return Run(FeedKernel, {static_cast<uint32_t>(blocks), kFeedThreads, 0, "feed"}, stream, p);
}

}  // namespace weft::gpu
