// The tile that a TMA copy moves: which tensor in global memory, how large a box, and how shared
// memory is swizzled. CUDA driver API, "Tensor Map Object Management".
#pragma once

#include <cstdint>

#include "libs/device/number_types.h"

namespace weft::gpu {

// Where the 16-byte chunk c of the 128-byte line r lies: at c ^ f(r). Also what wgmma reads.
// The values are those of a wgmma descriptor's layout field.
enum class Swizzle : uint8_t { kNone = 0, k128 = 1, k64 = 2, k32 = 3 };

// The byte offset at which the byte at `offset` of an unswizzled tile lies; both relative to a
// 1024-byte aligned address.
WEFT_HOST_DEVICE constexpr uint32_t SwizzleOffset(Swizzle swizzle, uint32_t offset) {
  switch (swizzle) {
    case Swizzle::kNone:
      return offset;
    case Swizzle::k128:
      return offset ^ ((offset >> 7 & 7u) << 4);
    case Swizzle::k64:
      return offset ^ ((offset >> 7 & 3u) << 4);
    case Swizzle::k32:
      return offset ^ ((offset >> 7 & 1u) << 4);
  }
  return offset;
}

enum class TensorType : uint8_t { kU8, kBf16, kHalf, kFloat, kInt32 };

// A tensor of `rank` 1 to 5 dimensions, the fastest first.
struct TensorMapShape {
  TensorType type = TensorType::kBf16;
  uint32_t rank = 2;
  uint64_t size[5] = {1, 1, 1, 1, 1};  // elements
  uint64_t stride_bytes[5] = {};       // of dimensions 1 and up: multiples of 16; [0] is not used
  uint32_t box[5] = {1, 1, 1, 1, 1};   // elements of a tile, each at most 256
  Swizzle swizzle = Swizzle::kNone;    // box[0] in bytes is at most its width
};

constexpr uint32_t ElementBytes(TensorType type) {
  switch (type) {
    case TensorType::kU8:
      return 1;
    case TensorType::kBf16:
    case TensorType::kHalf:
      return 2;
    case TensorType::kFloat:
    case TensorType::kInt32:
      return 4;
  }
  return 1;
}

// What is wrong with a shape, or null. The driver's rules for tiled maps without interleaving.
constexpr const char* InvalidTensorMap(const TensorMapShape& s, uint64_t address) {
  if (s.rank < 1 || s.rank > 5) return "the rank is not 1 to 5";
  if (address % 16 != 0) return "the address is not a multiple of 16";
  const uint32_t element = ElementBytes(s.type);
  const uint32_t inner = s.box[0] * element;
  if (inner % 16 != 0) return "the box's rows are not a multiple of 16 bytes";
  if (s.swizzle == Swizzle::k128 && inner > 128)
    return "the box's rows exceed the swizzle's 128 bytes";
  if (s.swizzle == Swizzle::k64 && inner > 64)
    return "the box's rows exceed the swizzle's 64 bytes";
  if (s.swizzle == Swizzle::k32 && inner > 32)
    return "the box's rows exceed the swizzle's 32 bytes";
  for (uint32_t i = 0; i < s.rank; ++i) {
    if (s.box[i] < 1 || s.box[i] > 256) return "a side of the box is not 1 to 256";
    if (s.size[i] < 1 || s.size[i] > (uint64_t{1} << 32)) return "a size is not 1 to 2^32";
    if (i > 0 && (s.stride_bytes[i] % 16 != 0 || s.stride_bytes[i] >= (uint64_t{1} << 40))) {
      return "a stride is not a multiple of 16 below 2^40";
    }
  }
  return nullptr;
}

}  // namespace weft::gpu

#ifdef __CUDACC__
#include "libs/device/tensor_map_cuda.h"
#else
#include "libs/device/simt/tensor_map_emulated.h"
#endif
