// A model without weights: what it predicts is a hash of the tokens it finds in the KV cache, so
// any mistake with blocks, slots, positions or chunks changes the output.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "libs/model/model_runner.h"

namespace weft {

struct FakeModelOptions {
  int32_t vocab = 101;
  int32_t context_length = 2048;
  std::vector<int32_t> eos_ids = {2};
  float eos_logit = 0.0F;  // added to the logits of eos_ids: larger ends sequences sooner
  // Called before each forward pass; an error fails it. May be empty.
  std::function<absl::Status(const StepBatch&)> before_forward = {};
  absl::Status health_when_it_fails = absl::OkStatus();  // after an error of before_forward
  // Has DeviceSteps: computes a step when it is collected, as late as one may.
  bool ahead = false;
};

class FakeSteps;

class FakeModel final : public ModelRunner {
 public:
  explicit FakeModel(FakeModelOptions options = {});
  ~FakeModel() override;

  const ModelConfig& config() const override { return config_; }
  absl::Status AllocateKv(int32_t blocks, int32_t block_tokens) override;
  uint64_t KvBytesPerBlock(int32_t block_tokens) const override;
  // Checks the rules of StepBatch (a broken one is kInvalidArgument), then computes.
  absl::Status Forward(const StepBatch& batch, std::span<float> logits) override;
  DeviceSteps* device_steps() override;
  absl::Status health() const override {
    return failed_ ? options_.health_when_it_fails : absl::OkStatus();
  }
  uint64_t layer_progress() const override { return layers_.load(); }
  std::string weights_sha256() const override { return "fake"; }
  std::string quantization() const override { return "F32"; }
  std::string numerics_class() const override { return "fake"; }
  uint64_t memory_bytes() const override { return 0; }

  uint64_t forwards() const { return forwards_; }
  int32_t largest_batch() const { return largest_batch_; }

 private:
  friend FakeSteps;
  absl::Status Check(const StepBatch& batch) const;
  void Predict(uint64_t state, std::span<float> logits) const;

  const FakeModelOptions options_;
  ModelConfig config_;
  int32_t blocks_ = 0;
  int32_t block_tokens_ = 0;
  std::vector<uint64_t> cache_;  // [blocks * block_tokens]
  uint64_t forwards_ = 0;
  int32_t largest_batch_ = 0;
  std::atomic<bool> failed_{false};
  std::atomic<uint64_t> layers_{0};
  std::unique_ptr<FakeSteps> steps_;
};

}  // namespace weft
