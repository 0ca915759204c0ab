#include "libs/ops/weight.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstring>

#include "libs/base/status.h"
#include "libs/device/thread_team.h"
#include "libs/ops/pack_codes.h"
#include "libs/ops/pack_k.h"
#include "libs/tensor/block_formats.h"
#include "libs/tensor/half.h"
#include "libs/tensor/storage.h"

namespace weft {
namespace {

using cpu::kGroupRows;
using cpu::kQBlock;
using cpu::Layout;
using tensor_internal::Load16;

constexpr int64_t kGroupsPerTask = 16;

bool FiniteHalf(uint16_t half) { return (half & 0x7c00u) != 0x7c00u; }

// Each of these fills the zeroed tile (or, for plain types, column strip) of one source row, at
// `lane` of its group, from the row's bytes. False: a scale that cannot be represented.

bool PackQ4Row(const uint8_t* src, bool has_offset, int64_t cols, int lane, uint8_t* group) {
  const int64_t block_bytes = has_offset ? 20 : 18;
  for (int64_t b = 0; b < cols / kQBlock; ++b, src += block_bytes, group += cpu::kQ4TileBytes) {
    const uint16_t d = Load16(src);
    // Q4_0 stores q - 8: the offset is -8 d, exact in a half unless it overflows.
    const uint16_t m = has_offset ? Load16(src + 2) : FloatToHalf(-8.0f * HalfToFloat(d));
    if (!FiniteHalf(d) || !FiniteHalf(m)) return false;
    const uint8_t* q = src + (has_offset ? 4 : 2);
    for (int i = 0; i < 16; ++i) group[64 * (i / 4) + 4 * lane + i % 4] = q[i];
    std::memcpy(group + 256 + 2 * lane, &d, 2);
    std::memcpy(group + 288 + 2 * lane, &m, 2);
  }
  return true;
}

bool PackQ8Row(const uint8_t* src, int64_t cols, int lane, uint8_t* group) {
  for (int64_t b = 0; b < cols / kQBlock; ++b, src += 34, group += cpu::kQ8TileBytes) {
    const uint16_t d = Load16(src);
    if (!FiniteHalf(d)) return false;
    for (int i = 0; i < 32; ++i) group[64 * (i / 4) + 4 * lane + i % 4] = src[2 + i];
    std::memcpy(group + 512 + 2 * lane, &d, 2);
  }
  return true;
}

bool PackPlainRow(const uint8_t* src, int64_t bytes, int64_t cols, int lane, uint8_t* group) {
  for (int64_t k = 0; k < cols; ++k) {
    std::memcpy(group + (k * kGroupRows + lane) * bytes, src + k * bytes,
                static_cast<size_t>(bytes));
  }
  return true;
}

// Every E4M3 value is a half.
bool PackF8Row(const uint8_t* src, int64_t cols, int lane, uint8_t* group) {
  for (int64_t k = 0; k < cols; ++k) {
    const uint16_t half = FloatToHalf(F8E4M3ToFloat(src[k]));
    std::memcpy(group + (k * kGroupRows + lane) * 2, &half, 2);
  }
  return true;
}

bool PackRow(DType type, const uint8_t* src, int64_t cols, int lane, uint8_t* group) {
  switch (type) {
    case DType::kQ4_0:
      return PackQ4Row(src, false, cols, lane, group);
    case DType::kQ4_1:
      return PackQ4Row(src, true, cols, lane, group);
    case DType::kQ8_0:
      return PackQ8Row(src, cols, lane, group);
    case DType::kQ4_K:
      return cpu::PackQ4KRow(src, cols, lane, group);
    case DType::kQ5_K:
      return cpu::PackQ5KRow(src, cols, lane, group);
    case DType::kQ6_K:
      return cpu::PackQ6KRow(src, cols, lane, group);
    case DType::kF32:
      return PackPlainRow(src, 4, cols, lane, group);
    case DType::kF16:
    case DType::kBF16:
      return PackPlainRow(src, 2, cols, lane, group);
    case DType::kF8E4M3:
      return PackF8Row(src, cols, lane, group);
    default:
      break;
  }
  const BlockFormat& format = *FindBlockFormat(type);
  if (cpu::IsNarrowQ8_0(type)) {
    return PackQ8Row(cpu::WidenToQ8_0(format, src, cols).data(), cols, lane, group);
  }
  return cpu::PackCodesRow(format, src, cols, lane, group);
}

absl::StatusOr<Layout> LayoutFor(DType type, std::string_view name) {
  switch (type) {
    case DType::kQ4_0:
    case DType::kQ4_1:
      return Layout::kQ4;
    case DType::kQ8_0:
      return Layout::kQ8;
    case DType::kQ4_K:
      return Layout::kQ4K;
    case DType::kQ5_K:
      return Layout::kQ5K;
    case DType::kQ6_K:
      return Layout::kQ6;
    case DType::kF32:
      return Layout::kF32;
    case DType::kF16:
    case DType::kF8E4M3:
      return Layout::kF16;
    case DType::kBF16:
      return Layout::kBF16;
    default:
      break;
  }
  if (cpu::IsNarrowQ8_0(type)) return Layout::kQ8;
  const BlockFormat* format = FindBlockFormat(type);
  if (format == nullptr) {
    return Unimplemented("tensor {}: type {} is not supported", name, Name(type));
  }
  return format->has_offsets ? Layout::kCodesOffset : Layout::kCodes;
}

}  // namespace

absl::StatusOr<Weight> Repack(const Weight& raw, std::string_view name, ThreadTeam& team,
                              PageArena& arena, const BytesTaken& taken) {
  WEFT_ASSIGN_OR_RETURN(const Layout layout, LayoutFor(raw.type, name));
  const std::optional<uint64_t> row_bytes = BytesFor(raw.type, raw.cols);
  if (!row_bytes.has_value()) {
    return InvalidArgument("tensor {}: rows of {} elements are no whole blocks of {}", name,
                           raw.cols, Name(raw.type));
  }
  Weight out = raw;
  out.layout = layout;
  const int64_t group_bytes = cpu::GroupBytes(layout, raw.cols);
  out.packed_bytes = static_cast<uint64_t>(group_bytes) * static_cast<uint64_t>(raw.groups());
  const std::shared_ptr<uint8_t> memory = arena.Allocate(out.packed_bytes);
  if (memory == nullptr) {
    return ResourceExhausted("tensor {}: no memory for {} bytes", name, out.packed_bytes);
  }
  uint8_t* bytes = memory.get();
  out.owner = memory;
  out.packed = bytes;

  // A group's rows follow one another in the source, so both sides are walked once, in order.
  int64_t per_task = kGroupsPerTask;
  while ((raw.groups() + per_task - 1) / per_task > ThreadTeam::kMaxTasks) per_task *= 2;
  std::atomic<int64_t> bad_row{-1};
  team.ParallelFor((raw.groups() + per_task - 1) / per_task, [&](int64_t task, int) {
    const int64_t end = std::min(raw.groups(), (task + 1) * per_task);
    for (int64_t g = task * per_task; g < end; ++g) {
      uint8_t* group = bytes + g * group_bytes;
      for (int lane = 0; lane < kGroupRows && g * kGroupRows + lane < raw.rows; ++lane) {
        const int64_t row = g * kGroupRows + lane;
        const uint8_t* src = raw.raw + static_cast<uint64_t>(row) * *row_bytes;
        if (!PackRow(raw.type, src, raw.cols, lane, group)) bad_row.store(row);
      }
    }
    if (!taken) return;
    const int64_t first = task * per_task * kGroupRows;
    const int64_t rows = std::min(raw.rows, end * kGroupRows) - first;
    taken(raw.raw + static_cast<uint64_t>(first) * *row_bytes,
          static_cast<uint64_t>(rows) * *row_bytes);
  });
  if (bad_row.load() >= 0) {
    return InvalidArgument("tensor {}: row {} has a scale that is not finite or out of range", name,
                           bad_row.load());
  }
  return out;
}

std::optional<cpu::Layout> PackedLayout(DType type) {
  const absl::StatusOr<Layout> layout = LayoutFor(type, "");
  if (!layout.ok()) return std::nullopt;
  return *layout;
}

std::optional<uint64_t> PackedBytes(DType type, int64_t rows, int64_t cols) {
  const absl::StatusOr<Layout> layout = LayoutFor(type, "");
  if (!layout.ok() || rows < 1 || cols < 1 || cols % BlockSize(type) != 0) return std::nullopt;
  // Far below where a product overflows: no layout has more than 4 bytes per weight and offset.
  if (rows > INT64_MAX / 128 / cols) return std::nullopt;
  const int64_t groups = (rows + kGroupRows - 1) / kGroupRows;
  return static_cast<uint64_t>(groups) * static_cast<uint64_t>(cpu::GroupBytes(*layout, cols));
}

}  // namespace weft
