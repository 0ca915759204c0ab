// Element types of tensors, with GGUF's type numbers, and conversion to fp32.
// Block layouts: block_formats.h.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace weft {

// The values are GGUF's type numbers, and own ones from 1000 on. Every type that GGUF names is
// here, so that an error can name it; IsSupported() says which ones can be computed with.
enum class DType : uint32_t {
  kF32 = 0,
  kF16 = 1,
  kQ4_0 = 2,
  kQ4_1 = 3,
  kQ5_0 = 6,
  kQ5_1 = 7,
  kQ8_0 = 8,
  kQ8_1 = 9,
  kQ2_K = 10,
  kQ3_K = 11,
  kQ4_K = 12,
  kQ5_K = 13,
  kQ6_K = 14,
  kQ8_K = 15,
  kIQ2_XXS = 16,
  kIQ2_XS = 17,
  kIQ3_XXS = 18,
  kIQ1_S = 19,
  kIQ4_NL = 20,
  kIQ3_S = 21,
  kIQ2_S = 22,
  kIQ4_XS = 23,
  kI8 = 24,
  kI16 = 25,
  kI32 = 26,
  kI64 = 27,
  kF64 = 28,
  kIQ1_M = 29,
  kBF16 = 30,
  kTQ1_0 = 34,
  kTQ2_0 = 35,
  kMXFP4 = 39,
  kF8E4M3 = 1001,  // OCP FP8 E4M3 (finite, no infinities): of safetensors
};
// GGUF has no number for types from here on.
inline constexpr uint32_t kFirstOwnType = 1000;

// Nothing when GGUF has no type of this number.
std::optional<DType> DTypeFromGguf(uint32_t number);

// "Q4_1"; "unknown" for a value outside the enum.
std::string_view Name(DType type);

// Elements in one block (1 for plain types) and the bytes of one block; both 0 outside the enum.
int64_t BlockSize(DType type);
int64_t BlockBytes(DType type);

// True for the types that weights may have: Dequantize knows them, and the op tables compute with
// them. The others have a name and a size only.
bool IsSupported(DType type);
// "F32 F16 Q4_0 …", for messages.
std::string SupportedTypeNames();

// Bytes of `elements` contiguous elements; nothing when they are no whole number of blocks, the
// count is negative, or the result does not fit.
std::optional<uint64_t> BytesFor(DType type, int64_t elements);

// Converts `elements` (a whole number of blocks) at `src` (any alignment) to fp32: the same bits as
// the Python package `gguf`. False when the type is not supported; `out` is then untouched.
bool Dequantize(DType type, const uint8_t* src, int64_t elements, float* out);

}  // namespace weft
