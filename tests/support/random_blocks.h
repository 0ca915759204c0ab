// Random tensors in any weight format, with scales that make the values look like weights.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <random>
#include <vector>

#include "libs/base/status.h"
#include "libs/tensor/block_formats.h"
#include "libs/tensor/dtype.h"
#include "libs/tensor/half.h"

namespace weft::test {

// Where a block's scale lies and, in formats with offsets, the figure for the offset: halves.
struct ScaleFields {
  size_t scale = 0;
  size_t offset = 0;
  float offset_factor = 0;  // of the scale: centres the values; 0: no such field
};

inline ScaleFields ScaleFieldsOf(DType type) {
  switch (type) {
    case DType::kQ4_1:
      return {0, 2, -7.5f};
    case DType::kQ5_1:
      return {0, 2, -15.5f};
    case DType::kQ2_K:
      return {80, 82, 1.5f};
    case DType::kQ3_K:
      return {108};
    case DType::kQ4_K:
      return {0, 2, 7.5f};
    case DType::kQ5_K:
      return {0, 2, 15.5f};
    case DType::kQ6_K:
      return {208};
    default:
      return {};
  }
}

inline void PutHalf(uint8_t* at, float value) {
  const uint16_t half = FloatToHalf(value);
  std::memcpy(at, &half, sizeof(half));
}

// Random codes; scales of both signs so that the values' root mean square is about `spread`.
inline void FillRandomBlock(DType type, float spread, std::mt19937& random, uint8_t* block) {
  const BlockFormat& format = *FindBlockFormat(type);
  for (int32_t i = 0; i < format.bytes; ++i) block[i] = static_cast<uint8_t>(random());
  if (type == DType::kMXFP4) {  // its scale is a power of two: the codes' mean square is about 5^2
    block[0] = static_cast<uint8_t>(128 + std::lround(std::log2(spread / 5)));
    return;
  }
  const ScaleFields fields = ScaleFieldsOf(type);
  const auto put = [&](float scale) {
    PutHalf(block + fields.scale, scale);
    if (fields.offset_factor != 0) PutHalf(block + fields.offset, scale * fields.offset_factor);
  };
  put(1.0f);
  float values[DecodedBlock::kMaxCodes];
  format.dequantize(block, 1, values);
  double squares = 0;
  for (int32_t i = 0; i < format.block; ++i) squares += static_cast<double>(values[i]) * values[i];
  const double unit = std::sqrt(squares / format.block) + 1e-9;
  std::uniform_real_distribution<float> factor(0.5f, 1.5f);
  const float sign = random() % 2 == 0 ? 1.0f : -1.0f;
  put(sign * factor(random) * static_cast<float>(spread / unit));
}

// `elements` (rounded up to whole blocks) of any supported type, normally distributed where the
// type is a plain one.
inline std::vector<uint8_t> RandomTensorBytes(DType type, int64_t elements, float centre,
                                              float spread, std::mt19937& random) {
  const int64_t blocks = (elements + BlockSize(type) - 1) / BlockSize(type);
  const int64_t block = BlockBytes(type);
  std::vector<uint8_t> out(static_cast<size_t>(blocks * block));
  std::normal_distribution<float> normal(centre, spread);
  for (int64_t b = 0; b < blocks; ++b) {
    uint8_t* at = out.data() + b * block;
    if (FindBlockFormat(type) != nullptr) {
      FillRandomBlock(type, spread, random, at);
      continue;
    }
    const float value = normal(random);
    switch (type) {
      case DType::kF32:
        std::memcpy(at, &value, 4);
        break;
      case DType::kF16:
        PutHalf(at, value);
        break;
      case DType::kBF16:
        std::memcpy(at, reinterpret_cast<const uint8_t*>(&value) + 2, 2);
        break;
      case DType::kF8E4M3:
        do {
          *at = static_cast<uint8_t>(random());
        } while (!(std::fabs(F8E4M3ToFloat(*at)) <= 4 * spread));
        break;
      default:  // nobody can compute with it: any bytes will do
        for (int64_t i = 0; i < block; ++i) at[i] = static_cast<uint8_t>(random());
    }
  }
  return out;
}

// Every type that weights may have.
inline std::vector<DType> SupportedTypes() {
  std::vector<DType> types;
  for (uint32_t number = 0; number < 2000; ++number) {
    if (IsSupported(static_cast<DType>(number))) types.push_back(static_cast<DType>(number));
  }
  return types;
}

}  // namespace weft::test
