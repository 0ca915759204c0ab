// Which tensor of a model gets which type.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "libs/model/tensor_source.h"
#include "libs/tensor/dtype.h"

namespace weft {

struct QuantizeMix {
  DType type = DType::kQ8_0;  // Q8_0, Q4_0, Q4_K, Q6_K, or F16, BF16, F32: only converted
  // Every matrix gets `type`. Otherwise llama.cpp's mixtures: the output matrix (or the embedding,
  // when they are one) becomes at least Q6_K, and with Q4_K (its Q4_K_M) half of the value and down
  // projections Q6_K and fused attention inputs Q5_K.
  bool pure = false;
};

struct PlannedTensor {
  const Tensor* source = nullptr;
  DType type = DType::kF32;    // to be written
  DType wanted = DType::kF32;  // differs where the rows do not fit the type that the mix names
};

// Norms, biases, routers and other tensors of one dimension stay fp32. A row must be whole blocks:
// where it is none, Q4_K becomes Q5_0, Q5_K becomes Q5_1, Q6_K becomes Q8_0, and what is no
// multiple of 32 either becomes F16. `experts`: of a mixture of experts, else 0.
std::vector<PlannedTensor> PlanTypes(std::span<const Tensor> tensors, const QuantizeMix& mix,
                                     uint64_t experts);

// llama.cpp's number of the mix, for the key general.file_type.
uint32_t FileTypeNumber(const QuantizeMix& mix);

}  // namespace weft
