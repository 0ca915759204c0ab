// A vendor's library of matrix products, which may be there or not: what FastProducts asks of it.
// cublas_lt.h is the one that there is.
#pragma once

#include <absl/status/status.h>
#include <absl/status/statusor.h>

#include <array>
#include <compare>
#include <cstdint>
#include <string>
#include <vector>

#include "libs/tensor/dtype.h"

namespace weft::gpu {

// out[r][n] = sum over k of x[r][k] * w[n][k]. BF16: weights and x in bf16. F8_E4M3: both in e4m3,
// with scales.
struct ProductShape {
  DType type = DType::kBF16;
  int64_t outputs = 0;
  int64_t cols = 0;
  int32_t rows = 0;
  auto operator<=>(const ProductShape&) const = default;
};

// On the device.
struct ProductArgs {
  const void* weights = nullptr;    // [outputs, cols]
  const void* x = nullptr;          // [rows, cols]
  const float* channel = nullptr;   // [outputs], of F8_E4M3
  const float* x_scales = nullptr;  // [rows], of F8_E4M3
  const float* bias = nullptr;      // [outputs] or null
  float* out = nullptr;             // [rows, outputs]
};

// One of a library's ways to compute a shape: bits that only that version of it understands.
struct ProductAlgorithm {
  std::array<uint64_t, 8> bits = {};
  uint64_t workspace = 0;  // bytes
  bool operator==(const ProductAlgorithm&) const = default;
};

// One thread at a time.
class ProductLibrary {
 public:
  virtual ~ProductLibrary() = default;
  // Its name and version, without spaces.
  virtual std::string version() const = 0;
  // Ways to compute the shape within so much workspace, the likeliest first; none: it cannot.
  virtual absl::StatusOr<std::vector<ProductAlgorithm>> Candidates(const ProductShape& shape,
                                                                   uint64_t workspace) = 0;
  // Only enqueues on `stream` (a StreamHandle), also while it is captured. Neither allocates nor
  // waits. `shape` may have fewer rows than the one that the algorithm was found for.
  virtual absl::Status Launch(const ProductShape& shape, const ProductArgs& args,
                              const ProductAlgorithm& algorithm, void* workspace, void* stream) = 0;
};

}  // namespace weft::gpu
