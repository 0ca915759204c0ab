// What the products by TMA and wgmma share: a block of 128 rows by 128 outputs, tiles of 128 bytes
// of K in stages with two mbarriers each, a producer thread and two consumer warpgroups.
#pragma once

#include "libs/device/ptx.h"
#include "libs/ops/gpu_kernel.h"

namespace weft::gpu {

constexpr int kWgmmaGroup = 128;  // threads
constexpr int kWgmmaConsumers = 2;
constexpr int kWgmmaThreads = (1 + kWgmmaConsumers) * kWgmmaGroup;
constexpr int kWgmmaRows = 64 * kWgmmaConsumers;
constexpr int kWgmmaOutputs = 128;
constexpr int kWgmmaStages = 4;
constexpr int kWgmmaTileBytes = 128 * 128;
constexpr int kWgmmaStageBytes = 2 * kWgmmaTileBytes;

struct WgmmaStages {
  SharedPtr<uint8_t> tiles;
  SharedPtr<uint64_t> full;   // [kWgmmaStages]
  SharedPtr<uint64_t> empty;  // [kWgmmaStages]

  // All threads of the block.
  WEFT_DEVICE void Init() const {
    if (threadIdx.x == 0) {
      for (int s = 0; s < kWgmmaStages; ++s) {
        MbarrierInit(full + s, 1);
        MbarrierInit(empty + s, kWgmmaConsumers * kWgmmaGroup / kWarp);
      }
      FenceMbarrierInit();
    }
    __syncthreads();
  }
  // The producer's thread: all steps' tiles, `depth` elements of K each.
  WEFT_DEVICE void Produce(const TensorMap& x, const TensorMap& weights, int steps, int depth,
                           int row, int output) const {
    for (int i = 0; i < steps; ++i) {
      const int stage = i % kWgmmaStages;
      if (i >= kWgmmaStages) MbarrierWait(empty + stage, (i / kWgmmaStages - 1) & 1);
      MbarrierArriveExpect(full + stage, kWgmmaStageBytes);
      const SharedPtr<uint8_t> tile = tiles + stage * kWgmmaStageBytes;
      TensorLoad(tile, x, full + stage, i * depth, row);
      TensorLoad(tile + kWgmmaTileBytes, weights, full + stage, i * depth, output);
    }
  }
  // A consumer's operands of step i, once they are there.
  struct Operands {
    uint64_t a;
    uint64_t b;
  };
  WEFT_DEVICE Operands Wait(int i, int consumer) const {
    const int stage = i % kWgmmaStages;
    MbarrierWait(full + stage, i / kWgmmaStages & 1);
    const SharedPtr<uint8_t> tile = tiles + stage * kWgmmaStageBytes;
    return {MakeDescriptor(tile + consumer * (kWgmmaTileBytes / 2), 16, 1024, Swizzle::k128),
            MakeDescriptor(tile + kWgmmaTileBytes, 16, 1024, Swizzle::k128)};
  }
  WEFT_DEVICE void Release(int i) const {
    if (Lane() == 0) MbarrierArrive(empty + i % kWgmmaStages);
  }
};

// A consumer lane's first row of its block's, and its results' stores.
WEFT_DEVICE int WgmmaRow(int consumer) { return consumer * 64 + WarpId() % 4 * 16 + Lane() / 4; }
// sum(i): accumulator i. Outputs come in pairs.
template <typename F>
WEFT_DEVICE void StoreWgmma(GlobalPtr<float> out, GlobalPtr<const float> bias, int64_t outputs,
                            int rows, int first_row, int first_output, const F& sum) {
#pragma unroll
  for (int j = 0; j < kWgmmaOutputs / 8; ++j) {
    const int n = first_output + 8 * j + 2 * (Lane() % 4);
    if (n >= outputs) continue;
    float2 add = make_float2(0, 0);
    if (bias != nullptr) add = PtrCast<const float2>(bias + n)[0];
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int64_t r = first_row + 8 * half;
      if (r >= rows) continue;
      const int i = 4 * j + 2 * half;
      PtrCast<float2>(out + r * outputs + n)[0] = make_float2(sum(i) + add.x, sum(i + 1) + add.y);
    }
  }
}

inline dim3 WgmmaGrid(int64_t outputs, int64_t rows) {
  return dim3(static_cast<uint32_t>((outputs + kWgmmaOutputs - 1) / kWgmmaOutputs),
              static_cast<uint32_t>((rows + kWgmmaRows - 1) / kWgmmaRows));
}
// Of a matrix [rows, cols] whose rows follow one another.
inline const char* WgmmaMap(TensorType type, const void* from, int64_t rows, int64_t cols,
                            TensorMap* map) {
  TensorMapShape shape;
  shape.type = type;
  shape.size[0] = static_cast<uint64_t>(cols);
  shape.size[1] = static_cast<uint64_t>(rows);
  shape.stride_bytes[1] = static_cast<uint64_t>(cols) * ElementBytes(type);
  shape.box[0] = 128 / ElementBytes(type);
  shape.box[1] = 128;
  shape.swizzle = Swizzle::k128;
  return MakeTensorMap(shape, from, map);
}

}  // namespace weft::gpu
