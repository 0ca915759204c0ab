#include "libs/tensor/dtype.h"

#include <cstring>
#include <limits>

#include "libs/tensor/half.h"

namespace weft {
namespace {

struct TypeInfo {
  DType type;
  std::string_view name;
  int64_t block_size;
  int64_t block_bytes;
};

constexpr TypeInfo kTypes[] = {
    {DType::kF32, "F32", 1, 4},
    {DType::kF16, "F16", 1, 2},
    {DType::kQ4_0, "Q4_0", 32, 18},
    {DType::kQ4_1, "Q4_1", 32, 20},
    {DType::kQ5_0, "Q5_0", 32, 22},
    {DType::kQ5_1, "Q5_1", 32, 24},
    {DType::kQ8_0, "Q8_0", 32, 34},
    {DType::kQ8_1, "Q8_1", 32, 36},
    {DType::kQ2_K, "Q2_K", 256, 84},
    {DType::kQ3_K, "Q3_K", 256, 110},
    {DType::kQ4_K, "Q4_K", 256, 144},
    {DType::kQ5_K, "Q5_K", 256, 176},
    {DType::kQ6_K, "Q6_K", 256, 210},
    {DType::kQ8_K, "Q8_K", 256, 292},
    {DType::kIQ2_XXS, "IQ2_XXS", 256, 66},
    {DType::kIQ2_XS, "IQ2_XS", 256, 74},
    {DType::kIQ3_XXS, "IQ3_XXS", 256, 98},
    {DType::kIQ1_S, "IQ1_S", 256, 50},
    {DType::kIQ4_NL, "IQ4_NL", 32, 18},
    {DType::kIQ3_S, "IQ3_S", 256, 110},
    {DType::kIQ2_S, "IQ2_S", 256, 82},
    {DType::kIQ4_XS, "IQ4_XS", 256, 136},
    {DType::kI8, "I8", 1, 1},
    {DType::kI16, "I16", 1, 2},
    {DType::kI32, "I32", 1, 4},
    {DType::kI64, "I64", 1, 8},
    {DType::kF64, "F64", 1, 8},
    {DType::kIQ1_M, "IQ1_M", 256, 56},
    {DType::kBF16, "BF16", 1, 2},
    {DType::kTQ1_0, "TQ1_0", 256, 54},
    {DType::kTQ2_0, "TQ2_0", 256, 66},
    {DType::kMXFP4, "MXFP4", 32, 17},
    {DType::kF8E4M3, "F8_E4M3", 1, 1},
};

const TypeInfo* Find(DType type) {
  for (const TypeInfo& info : kTypes) {
    if (info.type == type) return &info;
  }
  return nullptr;
}

uint16_t Load16(const uint8_t* p) {
  uint16_t value;
  std::memcpy(&value, p, sizeof(value));
  return value;
}

void DequantizeQ4_0(const uint8_t* src, int64_t blocks, float* out) {
  for (int64_t b = 0; b < blocks; ++b, src += 18, out += 32) {
    const float d = HalfToFloat(Load16(src));
    for (int i = 0; i < 16; ++i) {
      const int q = src[2 + i];
      out[i] = static_cast<float>((q & 15) - 8) * d;
      out[i + 16] = static_cast<float>((q >> 4) - 8) * d;
    }
  }
}

void DequantizeQ4_1(const uint8_t* src, int64_t blocks, float* out) {
  for (int64_t b = 0; b < blocks; ++b, src += 20, out += 32) {
    const float d = HalfToFloat(Load16(src));
    const float m = HalfToFloat(Load16(src + 2));
    for (int i = 0; i < 16; ++i) {
      const int q = src[4 + i];
      out[i] = static_cast<float>(q & 15) * d + m;
      out[i + 16] = static_cast<float>(q >> 4) * d + m;
    }
  }
}

void DequantizeQ8_0(const uint8_t* src, int64_t blocks, float* out) {
  for (int64_t b = 0; b < blocks; ++b, src += 34, out += 32) {
    const float d = HalfToFloat(Load16(src));
    for (int i = 0; i < 32; ++i) {
      out[i] = static_cast<float>(static_cast<int8_t>(src[2 + i])) * d;
    }
  }
}

// A super-block of 256: 128 bytes of low nibbles, 64 bytes of high bit pairs, 16 int8 scales (one
// per 16 elements), one half scale. Each half of 128 elements is stored in four interleaved rows.
void DequantizeQ6_K(const uint8_t* src, int64_t blocks, float* out) {
  for (int64_t b = 0; b < blocks; ++b, src += 210, out += 256) {
    const float d = HalfToFloat(Load16(src + 208));
    for (int half = 0; half < 2; ++half) {
      const uint8_t* low = src + 64 * half;
      const uint8_t* high = src + 128 + 32 * half;
      const uint8_t* scales = src + 192 + 8 * half;
      for (int i = 0; i < 32; ++i) {
        const int bits[4] = {
            (low[i] & 15) | ((high[i] & 3) << 4),
            (low[i + 32] & 15) | (((high[i] >> 2) & 3) << 4),
            (low[i] >> 4) | (((high[i] >> 4) & 3) << 4),
            (low[i + 32] >> 4) | ((high[i] >> 6) << 4),
        };
        for (int row = 0; row < 4; ++row) {
          const float scale = d * static_cast<float>(static_cast<int8_t>(scales[i / 16 + 2 * row]));
          out[128 * half + 32 * row + i] = scale * static_cast<float>(bits[row] - 32);
        }
      }
    }
  }
}

}  // namespace

std::optional<DType> DTypeFromGguf(uint32_t number) {
  const TypeInfo* info = Find(static_cast<DType>(number));
  if (info == nullptr || number >= kFirstOwnType) return std::nullopt;
  return info->type;
}

std::string_view Name(DType type) {
  const TypeInfo* info = Find(type);
  return info == nullptr ? "unknown" : info->name;
}

int64_t BlockSize(DType type) {
  const TypeInfo* info = Find(type);
  return info == nullptr ? 0 : info->block_size;
}

int64_t BlockBytes(DType type) {
  const TypeInfo* info = Find(type);
  return info == nullptr ? 0 : info->block_bytes;
}

bool IsSupported(DType type) {
  switch (type) {
    case DType::kF32:
    case DType::kF16:
    case DType::kBF16:
    case DType::kQ4_0:
    case DType::kQ4_1:
    case DType::kQ8_0:
    case DType::kQ6_K:
      return true;
    default:
      return false;
  }
}

std::optional<uint64_t> BytesFor(DType type, int64_t elements) {
  const TypeInfo* info = Find(type);
  if (info == nullptr || elements < 0 || elements % info->block_size != 0) return std::nullopt;
  const int64_t blocks = elements / info->block_size;
  if (blocks > std::numeric_limits<int64_t>::max() / info->block_bytes) return std::nullopt;
  return static_cast<uint64_t>(blocks * info->block_bytes);
}

bool Dequantize(DType type, const uint8_t* src, int64_t elements, float* out) {
  switch (type) {
    case DType::kF32:
      std::memcpy(out, src, static_cast<size_t>(elements) * sizeof(float));
      return true;
    case DType::kF16:
      for (int64_t i = 0; i < elements; ++i) out[i] = HalfToFloat(Load16(src + 2 * i));
      return true;
    case DType::kBF16:
      for (int64_t i = 0; i < elements; ++i) out[i] = Bf16ToFloat(Load16(src + 2 * i));
      return true;
    case DType::kQ4_0:
      DequantizeQ4_0(src, elements / 32, out);
      return true;
    case DType::kQ4_1:
      DequantizeQ4_1(src, elements / 32, out);
      return true;
    case DType::kQ8_0:
      DequantizeQ8_0(src, elements / 32, out);
      return true;
    case DType::kQ6_K:
      DequantizeQ6_K(src, elements / 256, out);
      return true;
    default:
      return false;
  }
}

}  // namespace weft
