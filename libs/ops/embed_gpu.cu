#include "libs/ops/embed_gpu.h"
#include "libs/ops/gpu_kernel.h"

namespace weft::gpu {

constexpr int kEmbedThreads = 256;

WEFT_DEVICE float HalfAt(GlobalPtr<const uint8_t> p) {
  return ToFloat(Half{PtrCast<const uint16_t>(p)[0]});
}

// Element i of a row. Formats: libs/tensor/simple_formats.cc, k_formats.cc.
WEFT_DEVICE float ElementOf(DType type, GlobalPtr<const uint8_t> row, int i) {
  switch (type) {
    case DType::kF32:
      return PtrCast<const float>(row)[i];
    case DType::kF16:
      return HalfAt(row + 2 * i);
    case DType::kBF16:
      return ToFloat(Bf16{PtrCast<const uint16_t>(row)[i]});
    case DType::kQ4_0: {
      const GlobalPtr<const uint8_t> block = row + i / 32 * 18;
      const int byte = block[2 + i % 16];
      return HalfAt(block) * static_cast<float>((i % 32 < 16 ? byte & 15 : byte >> 4) - 8);
    }
    case DType::kQ4_1: {
      const GlobalPtr<const uint8_t> block = row + i / 32 * 20;
      const int byte = block[4 + i % 16];
      return HalfAt(block) * static_cast<float>(i % 32 < 16 ? byte & 15 : byte >> 4) +
             HalfAt(block + 2);
    }
    case DType::kQ8_0: {
      const GlobalPtr<const uint8_t> block = row + i / 32 * 34;
      return HalfAt(block) * static_cast<float>(static_cast<int8_t>(block[2 + i % 32]));
    }
    case DType::kQ4_K: {
      const GlobalPtr<const uint8_t> block = row + i / 256 * 144;
      const int group = i % 256 / 32;
      const int low = block[4 + group % 4];
      const int middle = block[8 + group % 4];
      int scale = low & 63;
      int offset = middle & 63;
      if (group >= 4) {
        const int nibbles = block[8 + group];
        scale = (nibbles & 15) | low >> 6 << 4;
        offset = nibbles >> 4 | middle >> 6 << 4;
      }
      const int byte = block[16 + group / 2 * 32 + i % 32];
      const int code = group % 2 == 0 ? byte & 15 : byte >> 4;
      return HalfAt(block) * static_cast<float>(scale) * static_cast<float>(code) -
             HalfAt(block + 2) * static_cast<float>(offset);
    }
    case DType::kQ6_K: {
      const GlobalPtr<const uint8_t> block = row + i / 256 * 210;
      const int half = i % 256 / 128;
      const int quarter = i % 128 / 32;
      const int byte = block[64 * half + 32 * (quarter % 2) + i % 32];
      const int pairs = block[128 + 32 * half + i % 32];
      const int code =
          ((quarter < 2 ? byte & 15 : byte >> 4) | (pairs >> (2 * quarter) & 3) << 4) - 32;
      const float scale = static_cast<float>(static_cast<int8_t>(block[192 + i % 256 / 16]));
      return HalfAt(block + 208) * scale * static_cast<float>(code);
    }
    default:
      return 0;
  }
}

WEFT_KERNEL(kEmbedThreads) void EmbedKernel(const EmbedParams p) {
  const int row = static_cast<int>(blockIdx.x);
  const int64_t token = GlobalPtr<const int32_t>(p.tokens)[row];
  const GlobalPtr<const uint8_t> from =
      GlobalPtr<const uint8_t>(p.table.data) + token * p.table.row_bytes;
  GlobalPtr<const uint8_t> position_from = nullptr;
  if (p.position_table.data != nullptr) {
    const int64_t position = GlobalPtr<const int32_t>(p.positions)[row];
    position_from =
        GlobalPtr<const uint8_t>(p.position_table.data) + position * p.position_table.row_bytes;
  }
  const GlobalPtr<float> out = GlobalPtr<float>(p.out) + static_cast<int64_t>(row) * p.width;
  for (int i = static_cast<int>(threadIdx.x); i < p.width; i += kEmbedThreads) {
    float x = p.scale * ElementOf(p.table.type, from, i);
    if (p.position_table.data != nullptr) x += ElementOf(p.position_table.type, position_from, i);
    out[i] = x;
  }
}

bool CanEmbed(DType type) {
  switch (type) {
    case DType::kF32:
    case DType::kF16:
    case DType::kBF16:
    case DType::kQ4_0:
    case DType::kQ4_1:
    case DType::kQ8_0:
    case DType::kQ4_K:
    case DType::kQ6_K:
      return true;
    default:
      return false;
  }
}

LaunchResult Embed(const EmbedParams& p, void* stream) {
  if (p.rows == 0) return {};
  return Run(EmbedKernel, {static_cast<uint32_t>(p.rows), kEmbedThreads, 0, "embed"}, stream, p);
}

}  // namespace weft::gpu
