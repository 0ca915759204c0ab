// Block-quantised weight formats: every one is integer codes, a scale for each group of 16 or 32
// of them and, for some, an offset: value = scale * code + offset, each operation rounded to fp32.
// Layouts: ggml's block structs (ggml-common.h); MXFP4: the OCP Microscaling specification 1.0.
#pragma once

#include <cstdint>
#include <cstring>

#include "libs/tensor/dtype.h"

namespace weft {

// One block, decoded. A format fills `codes` up to its block size, and a scale (and an offset, if
// it has any) for each of its groups.
struct DecodedBlock {
  static constexpr int kMaxCodes = 256;
  static constexpr int kMaxGroups = 16;
  int8_t codes[kMaxCodes];
  float scales[kMaxGroups];
  float offsets[kMaxGroups];
};

struct BlockFormat {
  DType type;
  int32_t block;     // codes in one block
  int32_t bytes;     // of one block
  int32_t group;     // codes that share a scale: 16 or 32
  bool has_offsets;  // else `offsets` is left alone
  // Decodes the block at `src` (any alignment).
  void (*decode)(const uint8_t* src, DecodedBlock& out);
  // The values of `blocks` successive blocks.
  void (*dequantize)(const uint8_t* src, int64_t blocks, float* out);
};

// Null for types that are not made of such blocks or are not supported. Lives for ever.
const BlockFormat* FindBlockFormat(DType type);

namespace tensor_internal {

inline uint16_t Load16(const uint8_t* p) {
  uint16_t value;
  std::memcpy(&value, p, sizeof(value));
  return value;
}

// F is a format: kType, kBlock, kBytes, kGroup, kHasOffsets and Decode(src, out).
template <typename F>
void DequantizeBlocks(const uint8_t* src, int64_t blocks, float* out) {
  DecodedBlock block;
  for (int64_t b = 0; b < blocks; ++b, src += F::kBytes, out += F::kBlock) {
    F::Decode(src, block);
    for (int g = 0; g < F::kBlock / F::kGroup; ++g) {
      const int8_t* codes = block.codes + g * F::kGroup;
      float* values = out + g * F::kGroup;
      for (int i = 0; i < F::kGroup; ++i) {
        values[i] = block.scales[g] * static_cast<float>(codes[i]);
        if constexpr (F::kHasOffsets) values[i] += block.offsets[g];
      }
    }
  }
}

template <typename F>
constexpr BlockFormat Describe() {
  static_assert(F::kBlock <= DecodedBlock::kMaxCodes);
  static_assert(F::kBlock / F::kGroup <= DecodedBlock::kMaxGroups);
  return {F::kType,       F::kBlock, F::kBytes,          F::kGroup,
          F::kHasOffsets, F::Decode, DequantizeBlocks<F>};
}

// The families' tables, each in its own file.
struct BlockFormats {
  const BlockFormat* begin;
  const BlockFormat* end;
};
BlockFormats SimpleFormats();    // Q4_0 Q4_1 Q5_0 Q5_1 Q8_0
BlockFormats KFormats();         // Q2_K Q3_K Q4_K Q5_K Q6_K
BlockFormats CodebookFormats();  // IQ4_NL IQ4_XS MXFP4

}  // namespace tensor_internal
}  // namespace weft
