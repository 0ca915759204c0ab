// Writes a model as a GGUF file with other weight types.
#pragma once

#include <absl/status/statusor.h>

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "libs/gguf/gguf.h"
#include "libs/model/tensor_source.h"
#include "libs/quantize/plan.h"

namespace weft {

struct QuantizeOptions {
  QuantizeMix mix;
  int threads = 0;  // 0: one per available core
  // Called from the calling thread with the fraction of the elements that is done and the name of
  // the tensor in work; false ends the work with CANCELLED. May be empty.
  std::function<bool(double, const std::string&)> progress = nullptr;
};

struct QuantizeReport {
  uint64_t bytes_in = 0;   // of the tensors
  uint64_t bytes_out = 0;  // of the file
  uint64_t elements = 0;
  std::map<DType, uint64_t> tensors;  // written, by type
  // "5 tensors with rows of 576: Q5_0 instead of Q4_K", one for each such case.
  std::vector<std::string> fallbacks;
  // Block formats of the source that were decoded: what they lost stays lost.
  std::vector<DType> requantized;
};

// Writes `tensors` to the file `out`, in their order, with the metadata of `metadata` (but for
// general.file_type, general.quantization_version and how it was split). Works through one tensor
// after another in pieces of a few megabytes; the file appears under its name when it is complete,
// or not at all. INVALID_ARGUMENT names a tensor with a value that is not finite or that the type
// cannot hold, UNIMPLEMENTED one whose type cannot be decoded; RESOURCE_EXHAUSTED: no room on disk.
absl::StatusOr<QuantizeReport> QuantizeModel(const TensorSource& tensors, const GgufFile& metadata,
                                             const std::string& out,
                                             const QuantizeOptions& options);

}  // namespace weft
