// Steps of a Model on its device: DeviceSteps over the transformer.
#pragma once

#include <absl/status/status.h>
#include <absl/status/statusor.h>

#include <atomic>
#include <cstdint>
#include <functional>
#include <mutex>
#include <span>
#include <vector>

#include "libs/model/device_steps.h"
#include "libs/model/transformer.h"

namespace weft {

// A step of one row for each of its sequences is filled up to a recorded shape, with rows that work
// on a page of their own.
class ModelSteps final : public DeviceSteps {
 public:
  struct Parts {
    Transformer* transformer = nullptr;
    OpDevice* device = nullptr;
    std::span<const KvLayer> cache;
    const KvShape* shape = nullptr;
    std::atomic<uint64_t>* progress = nullptr;
    std::function<absl::Status(const StepBatch&)> check;
    int32_t spare_page = 0;
    int32_t context_tokens = 0;  // of the longest sequence
    int32_t vocab = 0;
    size_t most_edits = 0;
    size_t edits_of_step = 0;  // room for all
  };
  explicit ModelSteps(Parts parts) : p_(std::move(parts)) {}

  // Once, before the first step.
  absl::Status Record();

  absl::Status Launch(const StepBatch& batch, const StepChoices& choices) override;
  absl::StatusOr<StepAnswers> Collect() override;
  int in_flight() const override { return p_.device->steps_in_flight(); }
  size_t most_edits() const override { return p_.most_edits; }

  // Not OK once the device has failed. Thread safe.
  absl::Status health() const;

 private:
  // Copies a step and fills it up to `rows`.
  void Pad(const StepBatch& batch, const StepChoices& choices, int32_t rows);
  void AddPadding(int32_t rows, int32_t context_tokens);
  StepChoices padding() const { return {rows_, {}, fed_, counted_}; }
  absl::Status Note(absl::Status status);

  const Parts p_;
  bool recorded_ = false;
  StepBatch padded_;
  std::vector<gpu::SampleRow> rows_;
  std::vector<int32_t> fed_, counted_;
  std::vector<int32_t> spare_table_;
  mutable std::mutex mutex_;
  absl::Status failed_;
};

// Edits of one row's logits at the most: all distinct tokens of a context, biases, bans, and a
// token that the step before chooses.
size_t MostEdits(int32_t context_tokens, int32_t vocab);

}  // namespace weft
