// Measures a model file on this machine: the engine alone, no mesh. Used by `weftctl bench`.
#pragma once

#include <absl/status/statusor.h>

#include <cstdint>
#include <string>
#include <vector>

#include "libs/model/repack_cache.h"
#include "libs/tensor/dtype.h"

namespace weft::engine {

struct BenchOptions {
  int32_t prefill = 512;  // prompt tokens of the prefill measurement [1, context)
  int32_t decode = 128;   // tokens of each decode measurement
  std::vector<int32_t> batches = {1, 4, 16};  // sequences decoding together
  int32_t threads = 0;                        // 0 = the model's default
  int32_t repetitions = 3;                    // the best one counts
  DType kv_type = DType::kF16;                // of the cache
  RepackCacheOptions repack_cache;            // of the weights

  absl::Status Validate() const;
};

struct BenchResult {
  struct Batch {
    int32_t n = 0;
    double tok_s = 0.0;  // of all sequences together
  };
  double load_seconds = 0.0;  // until the first step can begin
  double prefill_tok_s = 0.0;
  double decode_tok_s = 0.0;  // one sequence
  std::vector<Batch> batch;
  uint64_t peak_rss_bytes = 0;
  int32_t threads = 0;  // as used
  std::string isa;      // as chosen by the model
  std::string model;    // architecture and quantisation
};

// Blocks for seconds. The prefix cache is off while it measures.
absl::StatusOr<BenchResult> RunBench(const std::string& model_path, const BenchOptions& options);

}  // namespace weft::engine
