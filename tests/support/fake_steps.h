// DeviceSteps of the fake model. A step's batch is copied when it is launched, as a device's inputs
// are, and computed when it is collected: with the tokens that the step before chose.
#pragma once

#include <deque>
#include <vector>

#include "libs/model/device_steps.h"
#include "libs/sampling/sampler.h"
#include "tests/support/fake_model.h"

namespace weft {

class FakeSteps final : public DeviceSteps {
 public:
  explicit FakeSteps(FakeModel& model) : model_(model), sampler_(model.config().vocab) {}

  absl::Status Launch(const StepBatch& batch, const StepChoices& choices) override;
  absl::StatusOr<StepAnswers> Collect() override;
  int in_flight() const override { return static_cast<int>(steps_.size()); }
  size_t most_edits() const override { return static_cast<size_t>(model_.config().vocab) + 1; }

 private:
  struct Step {
    StepBatch batch;
    std::vector<std::vector<int32_t>> tables;
    std::vector<gpu::SampleRow> rows;
    std::vector<gpu::LogitEdit> edits;
    std::vector<int32_t> fed, counted;
  };
  void Choose(const Step& step, size_t index, std::span<const float> logits);

  FakeModel& model_;
  sampling::Sampler sampler_;
  std::deque<Step> steps_;
  absl::Status failed_;
  std::vector<int32_t> before_;  // tokens of the step before
  std::vector<int32_t> tokens_, top_tokens_;
  std::vector<float> logprobs_, top_logprobs_;
};

}  // namespace weft
