#include "libs/ops/pack_codes.h"

#include <cmath>
#include <cstring>

#include "libs/ops/kernels.h"

namespace weft::cpu {
namespace {

constexpr int64_t kQ8_0Bytes = 34;

void PutFloat(uint8_t* at, int lane, float value) { std::memcpy(at + 4 * lane, &value, 4); }

}  // namespace

bool PackCodesRow(const BlockFormat& format, const uint8_t* src, int64_t cols, int lane,
                  uint8_t* group) {
  const int64_t tile_bytes = format.has_offsets ? kCodesOffsetTileBytes : kCodesTileBytes;
  DecodedBlock block;
  bool finite = true;
  for (int64_t at = 0; at < cols; at += format.block, src += format.bytes) {
    format.decode(src, block);
    for (int k = 0; k < format.block; k += kQBlock, group += tile_bytes) {
      for (int i = 0; i < kQBlock; i += 4) {
        std::memcpy(group + 16 * i + 4 * lane, block.codes + k + i, 4);
      }
      for (int half = 0; half < 2; ++half) {
        const int g = (k + 16 * half) / format.group;
        finite = finite && std::isfinite(block.scales[g]);
        PutFloat(group + 512 + 64 * half, lane, block.scales[g]);
        if (!format.has_offsets) continue;
        finite = finite && std::isfinite(block.offsets[g]);
        PutFloat(group + 640 + 64 * half, lane, block.offsets[g]);
      }
    }
  }
  return finite;
}

bool IsNarrowQ8_0(DType type) { return type == DType::kQ5_0 || type == DType::kIQ4_NL; }

std::vector<uint8_t> WidenToQ8_0(const BlockFormat& format, const uint8_t* src, int64_t cols) {
  std::vector<uint8_t> out(static_cast<size_t>(cols / kQBlock * kQ8_0Bytes));
  DecodedBlock block;
  uint8_t* to = out.data();
  for (int64_t at = 0; at < cols; at += kQBlock, src += format.bytes, to += kQ8_0Bytes) {
    format.decode(src, block);
    std::memcpy(to, src, 2);
    std::memcpy(to + 2, block.codes, kQBlock);
  }
  return out;
}

}  // namespace weft::cpu
