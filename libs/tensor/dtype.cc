#include "libs/tensor/dtype.h"

#include <cstring>
#include <limits>

#include "libs/tensor/block_formats.h"
#include "libs/tensor/half.h"

namespace weft {
namespace {

using tensor_internal::Load16;

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

// What lies in a plain type's array: one number after another.
void WidenHalf(const uint8_t* src, int64_t count, float* out) {
  for (int64_t i = 0; i < count; ++i) out[i] = HalfToFloat(Load16(src + 2 * i));
}
void WidenBf16(const uint8_t* src, int64_t count, float* out) {
  for (int64_t i = 0; i < count; ++i) out[i] = Bf16ToFloat(Load16(src + 2 * i));
}
void WidenF8E4M3(const uint8_t* src, int64_t count, float* out) {
  for (int64_t i = 0; i < count; ++i) out[i] = F8E4M3ToFloat(src[i]);
}
void CopyFloats(const uint8_t* src, int64_t count, float* out) {
  std::memcpy(out, src, static_cast<size_t>(count) * sizeof(float));
}

struct PlainType {
  DType type;
  void (*widen)(const uint8_t* src, int64_t count, float* out);
};
constexpr PlainType kPlain[] = {{DType::kF32, CopyFloats},
                                {DType::kF16, WidenHalf},
                                {DType::kBF16, WidenBf16},
                                {DType::kF8E4M3, WidenF8E4M3}};

const PlainType* FindPlain(DType type) {
  for (const PlainType& plain : kPlain) {
    if (plain.type == type) return &plain;
  }
  return nullptr;
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
  return FindPlain(type) != nullptr || FindBlockFormat(type) != nullptr;
}

std::string SupportedTypeNames() {
  std::string names;
  for (const TypeInfo& info : kTypes) {
    if (!IsSupported(info.type)) continue;
    if (!names.empty()) names += ' ';
    names += info.name;
  }
  return names;
}

std::optional<uint64_t> BytesFor(DType type, int64_t elements) {
  const TypeInfo* info = Find(type);
  if (info == nullptr || elements < 0 || elements % info->block_size != 0) return std::nullopt;
  const int64_t blocks = elements / info->block_size;
  if (blocks > std::numeric_limits<int64_t>::max() / info->block_bytes) return std::nullopt;
  return static_cast<uint64_t>(blocks * info->block_bytes);
}

const BlockFormat* FindBlockFormat(DType type) {
  for (const auto& [begin, end] : {tensor_internal::SimpleFormats(), tensor_internal::KFormats(),
                                   tensor_internal::CodebookFormats()}) {
    for (const BlockFormat* format = begin; format != end; ++format) {
      if (format->type == type) return format;
    }
  }
  return nullptr;
}

bool Dequantize(DType type, const uint8_t* src, int64_t elements, float* out) {
  if (const BlockFormat* format = FindBlockFormat(type)) {
    format->dequantize(src, elements / format->block, out);
    return true;
  }
  if (const PlainType* plain = FindPlain(type)) {
    plain->widen(src, elements, out);
    return true;
  }
  return false;
}

}  // namespace weft
