// From fp32 to the weight formats that this project writes.
#pragma once

#include <cstdint>

#include "libs/tensor/dtype.h"

namespace weft {

// True for F32 F16 BF16 Q4_0 Q4_1 Q5_0 Q5_1 Q8_0 Q4_K Q5_K Q6_K.
bool CanQuantize(DType type);

// Encodes `elements` (a whole number of blocks) as `type` to `out`, BytesFor(type, elements) bytes.
// False when a value is not finite or a scale is beyond the range of a half; `out` is then
// unspecified. Each block depends on its own values only. Thread safe.
//
// Q4_0 to Q8_0 are the bits that the Python package `gguf` and ggml's reference give. The K formats
// search: see k_quantizers.cc.
bool Quantize(DType type, const float* src, int64_t elements, uint8_t* out);

namespace quantize_internal {

// One block from F::kBlock finite floats to F's bytes; false as above.
using BlockQuantizer = bool (*)(const float* src, uint8_t* out);
bool QuantizeBlockQ4_K(const float* src, uint8_t* out);
bool QuantizeBlockQ5_K(const float* src, uint8_t* out);
bool QuantizeBlockQ6_K(const float* src, uint8_t* out);

// Stores `value` as a half. False when it is too large for one.
bool PutHalf(uint8_t* at, float value);

}  // namespace quantize_internal
}  // namespace weft
