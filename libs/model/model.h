// A model loaded from a GGUF file or a Hugging Face folder, ready to compute steps on this
// machine's CPU or an accelerator.
#pragma once

#include <absl/status/status.h>
#include <absl/status/statusor.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>

#include "libs/model/memory.h"
#include "libs/model/model_runner.h"
#include "libs/model/repack_cache.h"
#include "libs/tensor/dtype.h"

namespace weft {

class GgufFile;
class OpDevice;
struct ModelSource;
struct RankShard;

struct ModelOptions {
  enum class Table {
    kCpu,  // int8 activations, AVX-512 VNNI / AVX2 / portable: all give the same bits
    kRef,  // scalar fp32: the oracle, slow
    kGpu,  // `device`: bf16 activations, fp32 sums
  };
  Table table = Table::kCpu;

  // "auto", "scalar", "avx2", "avx512" or "amx": the instruction set of the kCpu table. "auto"
  // takes the environment variable WEFT_ISA, else the best this machine has. One it lacks is an
  // error.
  std::string isa = "auto";

  // Threads that compute, the caller of Forward included. 0: one per available core.
  int32_t threads = 0;

  // Type of cached K and V: F16, BF16, Q8_0 or (kRef only) F32. Half the memory of F16 in Q8_0.
  DType kv_type = DType::kF16;

  // Tokens a sequence may have; 0, or more than the model's own: the model's. Models with LongRoPE
  // use their short factors when this is within their first training.
  int32_t context_length = 0;
  // Allows a context_length above the model's own: positions that it was not trained on, for
  // measurements. Not with learned positions.
  bool extend_context = false;

  // When set, loading begins only if weights, KV cache and activations fit the memory that is left:
  // RESOURCE_EXHAUSTED with the numbers otherwise. kCpu only.
  std::optional<MemoryPlan> memory = std::nullopt;

  // Where repacked weights are kept between starts (kCpu only). A cache that cannot be read or
  // written never fails a load: see Model::repack_status.
  RepackCacheOptions repack_cache = {};

  // kGpu: where it computes, of this model alone; and the largest step, for which memory is
  // planned. What is left free of the device's memory: other processes and the driver need some.
  std::shared_ptr<OpDevice> device = nullptr;
  int32_t max_step_rows = 512;
  int32_t max_step_sequences = 64;
  // kGpu: decode steps are recorded once and then replayed as graphs.
  bool graphs = true;
  // kGpu: converts all matrices to bf16, also those in blocks that a kernel reads.
  bool weights_bf16 = false;
  uint64_t device_reserve_bytes = 0;
  // One rank of several (parallel_model.h); null: the whole model. Outlives the model, which then
  // answers for its own part.
  const RankShard* rank = nullptr;

  // Called while loading, from the loading thread. May be empty.
  std::function<void(const LoadProgress&)> progress = nullptr;
};

class Model final : public ModelRunner {
 public:
  // Opens, checks and (for kCpu) repacks the weights. Every tensor that the architecture needs must
  // be there with the right shape and a supported type; an error names the tensor.
  static absl::StatusOr<std::unique_ptr<Model>> Load(const std::string& path,
                                                     const ModelOptions& options);
  static absl::StatusOr<std::unique_ptr<Model>> Load(std::shared_ptr<const GgufFile> file,
                                                     const ModelOptions& options);
  static absl::StatusOr<std::unique_ptr<Model>> Load(ModelSource source,
                                                     const ModelOptions& options);
  ~Model() override;

  const ModelConfig& config() const override;
  absl::Status AllocateKv(int32_t blocks, int32_t block_tokens) override;
  uint64_t KvBytesPerBlock(int32_t block_tokens) const override;
  absl::StatusOr<int32_t> FittingBlocks(double part, int32_t block_tokens) override;
  absl::Status Forward(const StepBatch& batch, std::span<float> logits) override;
  DeviceSteps* device_steps() override;
  absl::Status health() const override;
  uint64_t layer_progress() const override;
  std::string weights_sha256() const override;
  std::string quantization() const override;
  std::string numerics_class() const override;
  uint64_t memory_bytes() const override;

  // Forward in two: the check, and the step of a batch that passed it (on any rank). A rank that
  // gets no logits needs no room for them.
  absl::Status Check(const StepBatch& batch, std::span<float> logits) const;
  absl::Status Check(const StepBatch& batch) const;  // of a rank that gets no logits
  absl::Status Step(const StepBatch& batch, std::span<float> logits);

  // What became of ModelOptions::repack_cache: kMapped when all weights came from it, kMade when
  // they were written to it. `problem` says why a file was not used or not written.
  struct RepackStatus {
    enum class Kind { kOff, kMapped, kMade, kFailed };
    Kind kind = Kind::kOff;
    std::string path;
    absl::Status problem;
  };
  const RepackStatus& repack_status() const;

  // On a device: what copying the weights took.
  double load_bytes_per_second() const;
  // Elements of all tensors.
  uint64_t parameter_count() const;
  int32_t threads() const;
  // Loops so far that were handed to all threads. For the thread that calls Forward.
  uint64_t fork_joins() const;
  std::string isa() const;  // Name() of the level, "ref", or the device's name

 private:
  struct State;
  explicit Model(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace weft
