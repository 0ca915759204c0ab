// The state of the gpu table (gpu_table.h): one model's device, its constants and memory, and the
// inputs of the step in hand. The same code drives a CUDA device and the emulator.
//
// A step's inputs travel in one copy from pinned memory, its edits of logits in a second. Where a
// step's arrays lie on the device depends on its shape only, so that what one step of a shape put
// on the stream can be recorded and does for all later ones. Weights go through two pinned buffers,
// so that one is filled from the file while the other's bytes are on their way.
#pragma once

#include <absl/status/status.h>
#include <absl/status/statusor.h>

#include <array>
#include <chrono>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <tuple>
#include <unordered_map>
#include <vector>

#include "libs/device/device.h"
#include "libs/device/device_arena.h"
#include "libs/device/thread_team.h"
#include "libs/ops/attention_gpu.h"
#include "libs/ops/fast_products.h"
#include "libs/ops/gpu_launch.h"
#include "libs/ops/matmul_tiled_gpu.h"
#include "libs/ops/op_device.h"
#include "libs/ops/quantize_gpu.h"

namespace weft {

class GpuContext final : public OpDevice {
 public:
  static absl::StatusOr<std::shared_ptr<GpuContext>> Create(
      std::unique_ptr<Device> device, gpu::Numerics numerics = gpu::Numerics::kExact);
  ~GpuContext() override;

  const OpTable& table() const override;
  Device& device() override { return *device_; }
  std::string_view numerics_name() const override {
    return numerics_ == gpu::Numerics::kExact ? "" : "-fast";
  }
  absl::Status SetShape(const OpDeviceShape& shape) override;
  void PlanWeights() override;
  absl::Status TakeWeights(uint64_t reserve) override;
  absl::Status FinishWeights() override;
  absl::Status Keep(std::span<const float> values, std::string_view name) override;
  absl::StatusOr<Weight> KeepTable(const Weight& raw, std::string_view name) override;
  absl::StatusOr<Weight> KeepBf16(const Weight& raw, std::string_view name) override;
  uint64_t weight_bytes() const override { return weights_.bytes(); }
  LoadRate load_rate() const override { return rate_; }
  absl::Status PlanSteps(const StepLimits& limits) override;
  DeviceArena& step_memory() override { return *steps_; }
  absl::Status TakeSteps(uint64_t reserve) override;
  uint64_t ExpertTileBytes(int64_t slots, int32_t experts) const override;
  absl::Status BeginStep(const StepInputs& inputs) override;
  absl::Status Read(const float* from, std::span<float> to) override;
  absl::Status EndStep() override;
  void Sample(float* logits, int64_t first, int64_t rows) override;
  absl::Status LaunchStep() override;
  absl::StatusOr<StepAnswers> CollectStep() override;
  int steps_in_flight() const override { return static_cast<int>(launched_.size()); }
  std::vector<GraphShape> graph_shapes() const override;
  absl::Status BeginRecording(const StepInputs& inputs) override;
  absl::Status EndRecording() override;
  int32_t PaddedRows(int32_t rows) const override;
  bool replays() const override { return graph_ != nullptr; }

  // Matrices that are loaded from now on are not copied but made up (random_gpu.h): nothing reads
  // what the source has at their addresses.
  void MakeUpWeights(uint64_t seed) { made_up_ = seed; }

  // Numerics::kFast asks this library for products of many rows. Before weights are loaded.
  void UseLibrary(std::unique_ptr<gpu::ProductLibrary> library, gpu::FastProducts::Options options);
  // Null without a library. What became of its file of choices: TakeSteps goes on without it.
  const gpu::FastProducts* products() const { return products_.get(); }
  const absl::Status& products_status() const { return products_status_; }

  // --- For the table ---

  // Whether the library computes out = x * weights; then it is on the stream.
  bool MultiplyByLibrary(const gpu::ProductShape& shape, const gpu::ProductArgs& args) {
    return products_ != nullptr && products_->Multiply(shape, args, stream_.get());
  }
  // Where the FP8 form of activations goes that are made in `bf16`; nowhere where no product takes
  // it. There is one such place: it holds the latest.
  gpu::Fp8Out TakeFp8(const uint16_t* bf16, int64_t rows, int64_t width);
  // Of what TakeFp8 was last called with; nothing of others.
  std::optional<gpu::Fp8Out> Fp8Of(const uint16_t* bf16, int64_t rows) const;

  // A matrix in a type that `supported` is true of, converted to bf16 where its own is none; what
  // the host has at one address is held once. Before TakeWeights only counted: `raw` is null then.
  absl::StatusOr<Weight> KeepMatrix(const Weight& raw, bool (*supported)(DType),
                                    std::string_view name);
  // The device's copy of what the host has at `host`; null of null. CHECKs that there is one.
  template <typename T>
  const T* Copy(const T* host) const {
    return static_cast<const T*>(Find(host));
  }
  // Elements of a page's token after its latent.
  int32_t latent_rope_dim() const { return latent_rope_dim_; }
  // The step's attention, but for a layer's own pointers, scale, cap and window.
  const gpu::AttentionParams& attention() const { return attention_; }
  // Keeps the first error of a step.
  void Note(const gpu::LaunchResult& result);
  void* stream() const { return stream_.get(); }
  gpu::Numerics numerics() const { return numerics_; }
  // Whether the kernels of many rows find the shared memory that they stage tiles in (Hopper's 227
  // KB a block). Where they do not, the skinny products and paged attention serve all rows.
  bool stages_large_tiles() const {
    constexpr uint64_t kNeeded = uint64_t{208} << 10;
    return device_->info().shared_bytes_per_block >= kNeeded;
  }

 private:
  // Of a matrix: where it is on the host, or its name where that is made anew each time, its type
  // on the device, and the bytes it has there.
  using MatrixKey = std::tuple<const void*, std::string, DType, uint64_t>;
  struct Matrix {
    DeviceArena::Slice slice;
    bool copied = false;
  };
  struct Lane {
    Stream stream;
    PinnedBuffer pinned;
  };
  struct Input {
    const void* host;
    uint64_t bytes;
    const uint8_t* device;
  };
  class Packer;
  // What a step on its way has for itself: there are several so that the host can write the next
  // one's.
  struct Slot {
    PinnedBuffer inputs, answers;
    Event begin, end;
  };
  struct Launched {
    size_t slot = 0;
    size_t choices = 0;
    bool logprobs = false, top = false;
  };
  // Answers of the choices of a step, as they lie on the device and in Slot::answers.
  struct Answers {
    int32_t* tokens;
    float* logprobs;
    int32_t* top_tokens;
    float* top_logprobs;
  };

  GpuContext(std::unique_ptr<Device> device, gpu::Numerics numerics)
      : device_(std::move(device)), numerics_(numerics), weights_(*device_) {}
  absl::Status Upload(const void* from, uint64_t bytes, DeviceArena::Slice to);
  const void* Find(const void* host) const;
  void PlanAttention(const StepInputs& in);
  void Place(const StepInputs& in, Packer& packer);
  void Feed(const StepInputs& in);
  Answers AnswersAt(void* memory) const;
  uint64_t answer_bytes() const;
  GraphShape ShapeOf(const StepInputs& in) const;
  // Of the fast products: an FP8 matrix is there, and when the steps' memory is, choices are made.
  void AddProduct(const Weight& weight, bool blocks);
  absl::Status ChooseProducts();
  // Of the longest sequence's attention.
  int32_t most_chunks() const { return (limits_.context_tokens - 1) / gpu::kChunkTokens + 1; }
  void Note(const absl::Status& status);

  const std::unique_ptr<Device> device_;
  const gpu::Numerics numerics_;
  Stream stream_;
  absl::Status error_;
  bool in_step_ = false;

  DeviceArena weights_;
  bool planning_ = true;
  bool weights_bf16_ = false;
  std::optional<uint64_t> made_up_;
  std::unique_ptr<ThreadTeam> fillers_;  // while weights are copied
  LoadRate rate_;
  std::chrono::steady_clock::time_point load_begin_;
  std::vector<DeviceArena::Slice> vectors_;  // in the order of the weights
  size_t next_vector_ = 0;
  std::map<MatrixKey, Matrix> matrices_;
  uint64_t largest_ = 0;  // bytes of a part
  std::array<Lane, 2> lanes_;
  size_t lane_ = 0;
  std::unordered_map<const void*, const void*> constants_;  // host address -> device address

  std::unique_ptr<DeviceArena> steps_;
  StepLimits limits_;
  uint64_t inputs_bytes_ = 0;
  DeviceArena::Slice inputs_, partial_, edits_, answers_;
  PinnedBuffer results_;
  // One more than steps in flight: the end of the step before the oldest is still looked at.
  std::array<Slot, kStepsAhead + 2> slots_;
  size_t next_slot_ = 0;
  std::deque<Launched> launched_;            // oldest first
  bool timed_ = false;                       // the slot before the oldest holds a step's end
  Launched current_;                         // between BeginStep and LaunchStep
  const gpu::SampleRow* choices_ = nullptr;  // on the device, of the step in hand
  std::map<GraphShape, Graph> graphs_;
  GraphShape recording_;
  const Graph* graph_ = nullptr;  // that does the step in hand
  std::vector<Input> step_;
  int32_t latent_rope_dim_ = 0;
  gpu::AttentionParams attention_;
  std::vector<gpu::AttentionItem> items_, prefill_items_;
  std::vector<int32_t> tables_, partial_rows_;

  std::unique_ptr<gpu::FastProducts> products_;
  absl::Status products_status_;
  int64_t fp8_cols_ = 0;     // the most of an FP8 matrix; 0: there is none
  bool fp8_blocks_ = false;  // one of them has scales of blocks
  DeviceArena::Slice fp8_codes_, fp8_scales_;
  const uint16_t* fp8_of_ = nullptr;
  int64_t fp8_rows_ = 0;
  gpu::Fp8Out fp8_;
};

}  // namespace weft
