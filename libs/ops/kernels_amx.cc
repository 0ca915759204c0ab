// The amx level: the avx512 kernels, but products of sixteen rows and more with quantised weights
// go to the tile unit. This file alone is compiled with that level's options (see
// kernels_avx512.cc).
#include "libs/ops/amx_kernels.h"
#include "libs/ops/kernels.h"

namespace weft::cpu {

extern const Kernels kAvx512Kernels;
void AmxMatmulRows(const MatmulArgs& args);

namespace {

using S = SimdAmx;

// What the tiles take; the other rows are the caller's.
void TileRows(const MatmulArgs& args) {
  switch (args.layout) {
    case Layout::kQ4:
      return AmxMatmul<Q4Tile<S>>::Run(args);
    case Layout::kQ8:
      return AmxMatmul<Q8Tile<S>>::Run(args);
    case Layout::kQ4K:
      return AmxMatmul<Q4KTile<S>>::Run(args);
    case Layout::kQ5K:
      return AmxMatmul<Q5KTile<S>>::Run(args);
    case Layout::kQ6:
      return AmxMatmul<Q6Tile<S>>::Run(args);
    case Layout::kCodes:
      return AmxMatmul<CodesTile<S, false>>::Run(args);
    case Layout::kCodesOffset:
      return AmxMatmul<CodesTile<S, true>>::Run(args);
    case Layout::kF32:
    case Layout::kF16:
    case Layout::kBF16:
      return;
  }
}

}  // namespace

void AmxMatmulRows(const MatmulArgs& args) {
  constexpr int64_t kLeast = AmxMatmul<Q4Tile<S>>::kLeastRows;
  // Less than a whole tile does not pay for the unpacking.
  if (!IsQuantized(args.layout) || args.rows < AmxMatmul<Q4Tile<S>>::kRows) {
    return kAvx512Kernels.matmul(args);
  }
  const int64_t done = args.rows / kLeast * kLeast;
  if (done == args.rows) return TileRows(args);
  InCachedGroups<S>(args, [done](const MatmulArgs& part) {
    TileRows(part);
    MatmulArgs rest = part;
    rest.rows -= done;
    rest.x = part.x.from(done);
    rest.out += done * part.out_stride;
    kAvx512Kernels.matmul(rest);
  });
}

}  // namespace weft::cpu
