// Row lookups on the GPU: the op embed of op_table.h.
//
//   out[r] = scale * table[tokens[r]] + position_table[positions[r]] (unless null)
//
// Tables stay in their file's format. Bytes: rows * (row_bytes + 4 * width), twice the first with
// positions.
#pragma once

#include <cstdint>

#include "libs/ops/gpu_launch.h"
#include "libs/tensor/dtype.h"

namespace weft::gpu {

struct EmbedTable {
  const uint8_t* data = nullptr;  // [.., row_bytes]
  int64_t row_bytes = 0;
  DType type = DType::kF32;
};

struct EmbedParams {
  EmbedTable table;
  EmbedTable position_table;           // data is null where there is none
  const int32_t* tokens = nullptr;     // [rows]
  const int32_t* positions = nullptr;  // [rows]
  float* out = nullptr;                // [rows, width]
  float scale = 1;
  int32_t rows = 0;
  int32_t width = 0;
};

// Types of tables: F32 F16 BF16 Q4_0 Q4_1 Q8_0 Q4_K Q6_K.
bool CanEmbed(DType type);

LaunchResult Embed(const EmbedParams& params, void* stream);

}  // namespace weft::gpu
