// A weight matrix: [rows, cols], rows are outputs. Either in its file's format, or repacked for the
// fast kernels.
#pragma once

#include <absl/status/statusor.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string_view>

#include "libs/ops/kernels.h"
#include "libs/tensor/dtype.h"

namespace weft {

class PageArena;
class ThreadTeam;

// What the codes of an F8_E4M3 matrix are multiplied by, in blocks of the checkpoint's own matrix.
struct Fp8Scales {
  const float* values = nullptr;  // [.., columns / block_cols, rounded up]; null: none
  int64_t block_rows = 0;
  int64_t block_cols = 0;
  int64_t first_row = 0;  // of that matrix, where it begins here

  // Those of a row of `cols` elements, one for each block_cols.
  const float* Row(int64_t row, int64_t cols) const {
    return values + (first_row + row) / block_rows * ((cols + block_cols - 1) / block_cols);
  }
};

struct Weight {
  DType type = DType::kF32;  // of the file
  int64_t rows = 0;
  int64_t cols = 0;
  const uint8_t* raw = nullptr;  // the file's bytes, [rows][BytesFor(type, cols)]; not owned
  // Of F8_E4M3. On a device the scales themselves follow raw: one a row where block_cols is cols,
  // else one for each 128 x 128.
  Fp8Scales scales;

  // Repacked (Repack): 16 output rows interleaved, see cpu::Layout. Null when it is not.
  cpu::Layout layout = cpu::Layout::kF32;
  const uint8_t* packed = nullptr;  // aligned to 64
  std::shared_ptr<const uint8_t> owner;
  uint64_t packed_bytes = 0;

  int64_t groups() const { return (rows + cpu::kGroupRows - 1) / cpu::kGroupRows; }
};

// Called with bytes that will not be read again, by several threads.
using BytesTaken = std::function<void(const uint8_t* data, uint64_t bytes)>;

// The repacked form of a raw weight; the same values, exactly. `taken`, unless empty, hears of the
// raw bytes part by part. kInvalidArgument, naming the tensor `name`, when a scale is not finite or
// out of the range of the repacked form; kUnimplemented for types that are not supported;
// kResourceExhausted without memory.
absl::StatusOr<Weight> Repack(const Weight& raw, std::string_view name, ThreadTeam& team,
                              PageArena& arena, const BytesTaken& taken = {});

// Counts changes of what Repack() writes: repacked weights kept on disk are of one revision.
inline constexpr int kRepackRevision = 1;

// The layout that Repack gives weights of a type; nothing for types that it refuses.
std::optional<cpu::Layout> PackedLayout(DType type);

// Bytes of the repacked form of a matrix; nothing for types and shapes that Repack refuses.
std::optional<uint64_t> PackedBytes(DType type, int64_t rows, int64_t cols);

}  // namespace weft
