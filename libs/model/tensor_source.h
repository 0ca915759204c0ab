// Where a model's tensors come from: a GGUF file, or a folder of safetensors whose tensors bear
// GGUF names.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "libs/ops/weight.h"
#include "libs/tensor/dtype.h"

namespace weft {

struct Tensor {
  std::string name;  // GGUF's: "blk.0.attn_q.weight"
  DType type = DType::kF32;
  std::vector<int64_t> dims;      // GGUF order: dims[0] is contiguous in memory
  uint64_t bytes = 0;             // there at `data`
  const uint8_t* data = nullptr;  // any alignment; the source owns it
  Fp8Scales scales = {};          // of F8_E4M3; the source owns their values

  int64_t elements() const {
    int64_t product = 1;
    for (const int64_t dim : dims) product *= dim;
    return product;
  }
};

// Immutable; thread safe. Tensors live as long as their source.
class TensorSource {
 public:
  virtual ~TensorSource() = default;

  virtual std::span<const Tensor> tensors() const = 0;          // in any order, names unique
  virtual const Tensor* Find(std::string_view name) const = 0;  // null when absent

  // Lower-case hex SHA-256 that names the weights: of the file, or of all files that hold them. May
  // read all of it.
  virtual std::string Sha256() const = 0;

  // Bytes of the files, or of the memory, that hold the tensors.
  virtual uint64_t bytes() const = 0;

  // Part of a tensor has been copied, and its pages need not stay in memory: a mapped source lets
  // the kernel take them back (they return when touched). Others do nothing.
  virtual void Release(const uint8_t* data, uint64_t bytes) const = 0;
  // The same of all that a mapped source holds: metadata and what the kernel mapped around tensors.
  virtual void ReleaseAll() const = 0;
};

}  // namespace weft
