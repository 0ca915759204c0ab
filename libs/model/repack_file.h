// A file of repacked weights: what is in it, and where. Layout, little endian:
//
//   "WEFTPACK" | u32 version | u32 body bytes | 32 bytes key | 32 bytes SHA-256 of key and body
//   body: 64 characters weights_sha256 | u32 matrices | of each: u16 name bytes, name, u32 type,
//         i64 rows, i64 cols, u8 layout, u64 offset, u64 bytes
//   the matrices (cpu::Layout), each at a multiple of 64 bytes, in order
//
// The key says what the weights were made of and how (repack_cache.h).
#pragma once

#include <absl/status/statusor.h>

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "libs/ops/weight.h"

namespace weft {

using RepackKey = std::array<uint8_t, 32>;

struct RepackEntry {
  std::string name;  // of the tensor; several matrices can come of one
  DType type = DType::kF32;
  int64_t rows = 0;
  int64_t cols = 0;
  cpu::Layout layout = cpu::Layout::kF32;
  uint64_t offset = 0;  // in the file
  uint64_t bytes = 0;
};

struct RepackIndex {
  std::string weights_sha256;  // 64 hex digits
  std::vector<RepackEntry> entries;

  // Gives every entry its offset; returns the bytes of the whole file.
  uint64_t Place();
};

// The file's bytes up to the first matrix. Offsets are set.
std::string SerializeRepackHeader(const RepackIndex& index, const RepackKey& key);

// Checks everything but the matrices' contents: `file` is the whole file and may hold anything.
// FAILED_PRECONDITION for another key or version, DATA_LOSS, with the offset, for damage.
absl::StatusOr<RepackIndex> ParseRepackFile(std::string_view file, const RepackKey& key);

}  // namespace weft
