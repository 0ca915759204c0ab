// GpuContext: a step's memory, inputs and answers.
#include <algorithm>
#include <bit>
#include <cstring>
#include <utility>

#include "libs/base/status.h"
#include "libs/ops/feed_gpu.h"
#include "libs/ops/gpu_context.h"
#include "libs/ops/gpu_status.h"
#include "libs/ops/prefill_gpu.h"

namespace weft {
namespace {

// Arrays of a step begin at multiples of this.
constexpr uint64_t kAlign = 256;
constexpr uint64_t Rounded(uint64_t bytes) { return (bytes + kAlign - 1) / kAlign * kAlign; }

// Rows of recorded steps: at most a half more than are wanted, a quarter from 16 on.
constexpr int32_t kGraphRows[] = {1,  2,  3,  4,  6,  8,  12,  16,  20,  24,
                                  32, 40, 48, 64, 80, 96, 128, 160, 192, 256};

}  // namespace

// Lays the arrays of a step out in pinned memory; without any, only counts.
class GpuContext::Packer {
 public:
  explicit Packer(uint8_t* staging) : staging_(staging) {}

  // Where the array lies.
  template <typename T>
  uint64_t Add(std::span<const T> values) {
    const uint64_t at = bytes_;
    if (!values.empty() && staging_ != nullptr) {
      std::memcpy(staging_ + at, values.data(), values.size_bytes());
    }
    bytes_ += Rounded(values.size_bytes());
    return at;
  }
  uint64_t bytes() const { return bytes_; }

 private:
  uint8_t* staging_;
  uint64_t bytes_ = 0;
};

const void* GpuContext::Find(const void* host) const {
  if (host == nullptr) return nullptr;
  const auto* at = static_cast<const uint8_t*>(host);
  for (const Input& input : step_) {
    const auto* begin = static_cast<const uint8_t*>(input.host);
    if (at >= begin && at < begin + input.bytes) return input.device + (at - begin);
  }
  const auto found = constants_.find(host);
  WEFT_CHECK(found != constants_.end());
  return found->second;
}

absl::Status GpuContext::PlanSteps(const StepLimits& limits) {
  WEFT_CHECK(launched_.empty());
  graphs_.clear();
  for (Slot& slot : slots_) slot = Slot();
  results_ = PinnedBuffer();
  steps_ = nullptr;
  timed_ = false;
  steps_ = std::make_unique<DeviceArena>(*device_);
  limits_ = limits;
  const auto rows = static_cast<uint64_t>(limits.rows);
  const auto sequences =
      static_cast<uint64_t>(std::max(limits.sequences, PaddedRows(limits.sequences)));
  const auto context = static_cast<uint64_t>(limits.context_tokens);
  const uint64_t pages = context / static_cast<uint64_t>(limits.block_tokens) + 1;
  // tokens, positions, slots, wanted rows, partial rows, fed, counted; angles; items; choices;
  // block tables.
  inputs_bytes_ = 7 * Rounded(rows * 4) +
                  2 * Rounded(rows * static_cast<uint64_t>(limits.angles) * 4) +
                  2 * Rounded(rows * sizeof(gpu::AttentionItem)) +
                  Rounded(rows * sizeof(gpu::SampleRow)) + Rounded(sequences * pages * 4);
  inputs_ = steps_->Plan("step inputs", inputs_bytes_);
  edits_ = steps_->Plan("edits of logits", limits.edits * sizeof(gpu::LogitEdit));
  answers_ = steps_->Plan("chosen tokens", answer_bytes());
  fp8_of_ = nullptr;
  fp8_codes_ = fp8_scales_ = {};
  if (fp8_cols_ > 0) {
    const auto cols = static_cast<uint64_t>(fp8_cols_);
    fp8_codes_ = steps_->Plan("FP8 activations", rows * cols);
    fp8_scales_ = steps_->Plan("their scales", rows * (cols / gpu::kFp8Group + 1) * 4);
  }
  const auto chunks = static_cast<uint64_t>(most_chunks());
  const auto floats = static_cast<uint64_t>(attention_.heads * (attention_.head_dim + 2));
  partial_ = steps_->Plan("partial attention",
                          chunks == 1 ? 0 : std::min(rows, sequences) * chunks * floats * 4);
  return absl::OkStatus();
}

uint64_t GpuContext::answer_bytes() const {
  const auto rows = static_cast<uint64_t>(limits_.rows);
  return 2 * Rounded(rows * 4) + 2 * Rounded(rows * gpu::kMaxSampledTop * 4);
}

GpuContext::Answers GpuContext::AnswersAt(void* memory) const {
  const auto rows = static_cast<uint64_t>(limits_.rows);
  auto* at = static_cast<uint8_t*>(memory);
  const uint64_t one = Rounded(rows * 4);
  const uint64_t top = Rounded(rows * gpu::kMaxSampledTop * 4);
  return {reinterpret_cast<int32_t*>(at), reinterpret_cast<float*>(at + one),
          reinterpret_cast<int32_t*>(at + 2 * one), reinterpret_cast<float*>(at + 2 * one + top)};
}

absl::Status GpuContext::TakeSteps(uint64_t reserve) {
  WEFT_RETURN_IF_ERROR(steps_->Commit(reserve));
  for (Slot& slot : slots_) {
    WEFT_ASSIGN_OR_RETURN(slot.inputs, MakePinnedBuffer(*device_, inputs_bytes_ + edits_.bytes));
    WEFT_ASSIGN_OR_RETURN(slot.answers, MakePinnedBuffer(*device_, answer_bytes()));
    WEFT_ASSIGN_OR_RETURN(slot.begin, MakeEvent(*device_));
    WEFT_ASSIGN_OR_RETURN(slot.end, MakeEvent(*device_));
  }
  const uint64_t logits =
      static_cast<uint64_t>(limits_.logit_rows) * static_cast<uint64_t>(limits_.vocab) * 4;
  WEFT_ASSIGN_OR_RETURN(results_, MakePinnedBuffer(*device_, logits));
  // Answers that nobody asked for are copied beside others.
  WEFT_RETURN_IF_ERROR(device_->FillAsync(steps_->At(answers_), 0, answers_.bytes, stream_.get()));
  WEFT_RETURN_IF_ERROR(device_->Synchronize(stream_.get()));
  return ChooseProducts();
}

// Which rows share a block, and which are spread over one block for each chunk of their tokens.
void GpuContext::PlanAttention(const StepInputs& in) {
  items_.clear();
  prefill_items_.clear();
  tables_.clear();
  partial_rows_.assign(in.tokens.size(), -1);
  const int32_t together = gpu::AttentionItemRows(attention_.heads, attention_.kv_heads);
  const int32_t group = attention_.heads / attention_.kv_heads;
  const int32_t prefill_rows =
      gpu::PrefillItemRows(attention_.heads, attention_.kv_heads, attention_.head_dim);
  const bool large = latent_rope_dim_ == 0 && stages_large_tiles();
  int32_t chunks = 1;
  int32_t spread_rows = 0;
  for (const AttentionSequence& sequence : in.sequences) {
    const int32_t tokens = sequence.first_position + sequence.rows;
    const int32_t pages = (tokens + limits_.block_tokens - 1) / limits_.block_tokens;
    const auto table = static_cast<int32_t>(tables_.size());
    tables_.insert(tables_.end(), sequence.block_table, sequence.block_table + pages);
    const bool spread = sequence.rows == 1;
    if (spread) {
      chunks = std::max(chunks, (tokens - 1) / gpu::kChunkTokens + 1);
      partial_rows_[static_cast<size_t>(sequence.first_row)] = spread_rows++;
    }
    // More rows than one block of the other kernel takes share their tiles in a prefill block.
    if (large && sequence.rows > 1 && sequence.rows * group > 16) {
      for (int32_t r = 0; r < sequence.rows; r += prefill_rows) {
        prefill_items_.push_back({sequence.first_row + r, std::min(prefill_rows, sequence.rows - r),
                                  sequence.first_position + r, table, 0});
      }
      continue;
    }
    for (int32_t r = 0; r < sequence.rows; r += together) {
      items_.push_back({sequence.first_row + r, std::min(together, sequence.rows - r),
                        sequence.first_position + r, table, spread ? 1 : 0});
    }
  }
  if (in.padded) chunks = ShapeOf(in).context_tokens / gpu::kChunkTokens;
  auto* partial = steps_->At(partial_);
  const auto sums = static_cast<uint64_t>(spread_rows) * static_cast<uint64_t>(attention_.heads) *
                    static_cast<uint64_t>(chunks) * static_cast<uint64_t>(attention_.head_dim);
  attention_.partial_o = reinterpret_cast<float*>(partial);
  attention_.partial_ml = reinterpret_cast<float*>(partial) + sums;
  // The last rows see most, and begin first.
  std::reverse(prefill_items_.begin(), prefill_items_.end());
  attention_.item_count = static_cast<int32_t>(items_.size());
  attention_.prefill_count = static_cast<int32_t>(prefill_items_.size());
  attention_.rows = static_cast<int32_t>(in.tokens.size());
  attention_.block_tokens = limits_.block_tokens;
  attention_.chunks = chunks;
}

// Where the inputs lie on the device. Block tables come last: of a shape only their size differs.
void GpuContext::Place(const StepInputs& in, Packer& packer) {
  PlanAttention(in);
  step_.clear();
  auto* device = steps_->At(inputs_);
  const auto add = [&](auto values) {
    if (values.empty()) return;
    step_.push_back({values.data(), values.size_bytes(), device + packer.Add(values)});
  };
  add(in.tokens);
  add(in.positions);
  add(in.slots);
  add(in.wanted_rows);
  add(in.fed);
  add(in.counted);
  add(in.choices);
  add(in.cos_sin);
  add(in.cos_sin_sliding);
  const auto own = [&]<typename T>(const std::vector<T>& values) {
    return reinterpret_cast<const T*>(device + packer.Add(std::span<const T>(values)));
  };
  attention_.items = own(items_);
  attention_.prefill_items = own(prefill_items_);
  attention_.partial_rows = own(partial_rows_);
  attention_.tables = own(tables_);
  attention_.positions = Copy(in.positions.data());
  choices_ = in.choices.empty() ? nullptr : Copy(in.choices.data());
  WEFT_CHECK(packer.bytes() <= inputs_bytes_);
}

absl::Status GpuContext::BeginStep(const StepInputs& in) {
  WEFT_RETURN_IF_ERROR(std::exchange(error_, absl::OkStatus()));
  WEFT_CHECK(launched_.size() < kStepsAhead);
  WEFT_CHECK(in.choices.empty() || in.choices.size() == in.wanted_rows.size());
  WEFT_CHECK(in.edits.size() <= limits_.edits);
  Slot& slot = slots_[next_slot_];
  auto* staging = static_cast<uint8_t*>(slot.inputs.get());
  Packer packer(staging);
  Place(in, packer);
  WEFT_RETURN_IF_ERROR(device_->Record(slot.begin.get(), stream_.get()));
  WEFT_RETURN_IF_ERROR(device_->CopyAsync(steps_->At(inputs_), staging, packer.bytes(),
                                          CopyKind::kToDevice, stream_.get()));
  if (!in.edits.empty()) {
    std::memcpy(staging + inputs_bytes_, in.edits.data(), in.edits.size_bytes());
    WEFT_RETURN_IF_ERROR(device_->CopyAsync(steps_->At(edits_), staging + inputs_bytes_,
                                            in.edits.size_bytes(), CopyKind::kToDevice,
                                            stream_.get()));
  }
  current_ = {.slot = next_slot_, .choices = in.choices.size()};
  for (const gpu::SampleRow& row : in.choices) {
    current_.logprobs |= row.logprobs != 0;
    current_.top |= row.top > 0;
  }
  graph_ = nullptr;
  if (in.padded) {
    const auto found = graphs_.find(ShapeOf(in));
    if (found != graphs_.end()) graph_ = &found->second;
  }
  device_->BeginStep();
  in_step_ = true;
  if (graph_ == nullptr) Feed(in);
  return absl::OkStatus();
}

void GpuContext::Feed(const StepInputs& in) {
  if (in.fed.empty()) return;
  WEFT_CHECK(in.fed.size() == in.tokens.size() && in.counted.size() == in.choices.size());
  Note(gpu::Feed({.tokens = const_cast<int32_t*>(Copy(in.tokens.data())),
                  .fed = Copy(in.fed.data()),
                  .chosen = AnswersAt(steps_->At(answers_)).tokens,
                  .of = const_cast<gpu::SampleRow*>(choices_),
                  .edits = steps_->At<gpu::LogitEdit>(edits_),
                  .counted = in.counted.empty() ? nullptr : Copy(in.counted.data()),
                  .rows = static_cast<int32_t>(in.fed.size()),
                  .choices = static_cast<int32_t>(in.counted.size())},
                 stream_.get()));
}

absl::Status GpuContext::Read(const float* from, std::span<float> to) {
  WEFT_CHECK(to.size() <= static_cast<size_t>(limits_.logit_rows) * limits_.vocab);
  Note(device_->CopyAsync(results_.get(), from, to.size_bytes(), CopyKind::kToHost, stream_.get()));
  device_->EndStep();
  Note(device_->Synchronize(stream_.get()));
  device_->BeginStep();
  WEFT_RETURN_IF_ERROR(error_);
  std::memcpy(to.data(), results_.get(), to.size_bytes());
  return absl::OkStatus();
}

absl::Status GpuContext::EndStep() {
  device_->EndStep();
  in_step_ = false;
  step_.clear();
  Note(device_->Synchronize(stream_.get()));
  return std::exchange(error_, absl::OkStatus());
}

void GpuContext::Sample(float* logits, int64_t first, int64_t rows) {
  WEFT_CHECK(choices_ != nullptr);
  const Answers answers = AnswersAt(steps_->At(answers_));
  Note(gpu::Sample({.logits = logits,
                    .of = choices_ + first,
                    .edits = steps_->At<gpu::LogitEdit>(edits_),
                    .tokens = answers.tokens + first,
                    .logprobs = answers.logprobs + first,
                    .top_tokens = answers.top_tokens + first * gpu::kMaxSampledTop,
                    .top_logprobs = answers.top_logprobs + first * gpu::kMaxSampledTop,
                    .rows = static_cast<int32_t>(rows),
                    .vocab = limits_.vocab},
                   stream_.get()));
}

absl::Status GpuContext::LaunchStep() {
  const Slot& slot = slots_[current_.slot];
  if (graph_ != nullptr) Note(device_->LaunchGraph(graph_->get(), stream_.get()));
  const Answers from = AnswersAt(steps_->At(answers_));
  const Answers to = AnswersAt(slot.answers.get());
  const auto copy = [&](void* host, const void* device, size_t each) {
    Note(device_->CopyAsync(host, device, current_.choices * each * 4, CopyKind::kToHost,
                            stream_.get()));
  };
  if (current_.choices > 0) copy(to.tokens, from.tokens, 1);
  if (current_.logprobs) copy(to.logprobs, from.logprobs, 1);
  if (current_.top) {
    copy(to.top_tokens, from.top_tokens, gpu::kMaxSampledTop);
    copy(to.top_logprobs, from.top_logprobs, gpu::kMaxSampledTop);
  }
  Note(device_->Record(slot.end.get(), stream_.get()));
  device_->EndStep();
  in_step_ = false;
  step_.clear();
  WEFT_RETURN_IF_ERROR(std::exchange(error_, absl::OkStatus()));
  launched_.push_back(current_);
  next_slot_ = (next_slot_ + 1) % slots_.size();
  return absl::OkStatus();
}

absl::StatusOr<StepAnswers> GpuContext::CollectStep() {
  WEFT_CHECK(!launched_.empty());
  const Launched step = launched_.front();
  const Slot& slot = slots_[step.slot];
  const absl::Status waited = device_->Wait(slot.end.get());
  launched_.pop_front();
  if (!waited.ok()) return waited;
  const Answers at = AnswersAt(slot.answers.get());
  StepAnswers answers;
  answers.tokens = {at.tokens, step.choices};
  answers.logprobs = {at.logprobs, step.choices};
  answers.top_tokens = {at.top_tokens, step.choices * gpu::kMaxSampledTop};
  answers.top_logprobs = {at.top_logprobs, step.choices * gpu::kMaxSampledTop};
  WEFT_ASSIGN_OR_RETURN(answers.device_ms, device_->Milliseconds(slot.begin.get(), slot.end.get()));
  const Slot& before = slots_[(step.slot + slots_.size() - 1) % slots_.size()];
  if (std::exchange(timed_, true)) {
    WEFT_ASSIGN_OR_RETURN(answers.idle_ms,
                          device_->Milliseconds(before.end.get(), slot.begin.get()));
  }
  return answers;
}

// ---- Recorded steps ----

// The bound of a recorded attention's chunks is a power of two, or the context's.
GraphShape GpuContext::ShapeOf(const StepInputs& in) const {
  const int32_t most = most_chunks();
  int32_t chunks = 1;
  for (const AttentionSequence& sequence : in.sequences) {
    chunks = std::max(chunks, sequence.first_position / gpu::kChunkTokens + 1);
  }
  const auto bound = static_cast<int32_t>(std::bit_ceil(static_cast<uint32_t>(chunks)));
  return {static_cast<int32_t>(in.tokens.size()), std::min(bound, most) * gpu::kChunkTokens};
}

std::vector<GraphShape> GpuContext::graph_shapes() const {
  std::vector<GraphShape> shapes;
  const int32_t most = most_chunks();
  for (const int32_t rows : kGraphRows) {
    if (rows > limits_.rows) break;
    for (int32_t chunks = 1; chunks < 2 * most; chunks *= 2) {
      shapes.push_back({rows, std::min(chunks, most) * gpu::kChunkTokens});
    }
    if (rows >= limits_.sequences) break;
  }
  return shapes;
}

int32_t GpuContext::PaddedRows(int32_t rows) const {
  for (const int32_t padded : kGraphRows) {
    if (padded >= rows) return padded <= limits_.rows ? padded : 0;
  }
  return 0;
}

absl::Status GpuContext::BeginRecording(const StepInputs& in) {
  WEFT_CHECK(launched_.empty() && in.padded);
  Packer packer(nullptr);
  Place(in, packer);
  recording_ = ShapeOf(in);
  WEFT_RETURN_IF_ERROR(device_->BeginCapture(stream_.get()));
  device_->BeginStep();
  in_step_ = true;
  Feed(in);
  return absl::OkStatus();
}

absl::Status GpuContext::EndRecording() {
  device_->EndStep();
  in_step_ = false;
  step_.clear();
  absl::StatusOr<GraphHandle> graph = device_->EndCapture(stream_.get());
  WEFT_RETURN_IF_ERROR(std::exchange(error_, absl::OkStatus()));
  WEFT_RETURN_IF_ERROR(graph.status());
  graphs_[recording_] = Graph(*device_, *graph);
  return absl::OkStatus();
}

}  // namespace weft
