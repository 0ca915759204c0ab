// What the tests of models on an accelerator run on: the emulator (here) or a real GPU (tests/gpu).
#pragma once

#include <cstdint>
#include <memory>

#include "libs/model/model.h"
#include "libs/ops/matmul_tiled_gpu.h"
#include "libs/ops/op_device.h"

namespace weft::test {

// Defined once per program. `memory_bytes` is what an emulated device has.
std::shared_ptr<OpDevice> MakeOpDevice(uint64_t memory_bytes,
                                       gpu::Numerics numerics = gpu::Numerics::kExact);

inline ModelOptions OnGpu(DType kv_type = DType::kF16,
                          gpu::Numerics numerics = gpu::Numerics::kExact) {
  ModelOptions options;
  options.table = ModelOptions::Table::kGpu;
  options.kv_type = kv_type;
  options.device = MakeOpDevice(uint64_t{1} << 30, numerics);
  options.max_step_rows = 96;
  options.max_step_sequences = 4;
  return options;
}

}  // namespace weft::test
