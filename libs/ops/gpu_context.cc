#include "libs/ops/gpu_context.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "libs/base/status.h"
#include "libs/ops/embed_gpu.h"
#include "libs/ops/expert_gpu.h"
#include "libs/ops/gpu_status.h"
#include "libs/ops/gpu_table.h"
#include "libs/ops/norm_gpu.h"

namespace weft {
namespace {

// Arrays of a step begin at multiples of this.
constexpr uint64_t kAlign = 256;
constexpr uint64_t Rounded(uint64_t bytes) { return (bytes + kAlign - 1) / kAlign * kAlign; }
// Of one copy of weights.
constexpr uint64_t kLaneBytes = uint64_t{32} << 20;

// The values of a matrix, rounded to bf16.
std::vector<uint16_t> ToBf16(const Weight& raw) {
  std::vector<float> row(static_cast<size_t>(raw.cols));
  std::vector<uint16_t> out(static_cast<size_t>(raw.rows * raw.cols));
  uint16_t* to = out.data();
  for (int64_t n = 0; n < raw.rows; ++n) {
    const uint8_t* from = raw.raw + *BytesFor(raw.type, n * raw.cols);
    WEFT_CHECK(Dequantize(raw.type, from, raw.cols, row.data()));
    for (const float value : row) {
      uint32_t bits = 0;
      std::memcpy(&bits, &value, 4);
      *to++ = static_cast<uint16_t>((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
    }
  }
  return out;
}

}  // namespace

// Lays the arrays of a step out in the staging buffer.
class GpuContext::Packer {
 public:
  explicit Packer(uint8_t* staging) : staging_(staging) {}

  // Where the array lies.
  template <typename T>
  uint64_t Add(std::span<const T> values) {
    const uint64_t at = bytes_;
    if (!values.empty()) std::memcpy(staging_ + at, values.data(), values.size_bytes());
    bytes_ += Rounded(values.size_bytes());
    return at;
  }
  uint64_t bytes() const { return bytes_; }

 private:
  uint8_t* staging_;
  uint64_t bytes_ = 0;
};

absl::StatusOr<std::shared_ptr<GpuContext>> GpuContext::Create(std::unique_ptr<Device> device,
                                                               gpu::Numerics numerics) {
  std::shared_ptr<GpuContext> context(new GpuContext(std::move(device), numerics));
  WEFT_ASSIGN_OR_RETURN(context->stream_, MakeStream(*context->device_));
  return context;
}

GpuContext::~GpuContext() {
  if (in_step_) device_->EndStep();
}

const OpTable& GpuContext::table() const { return GpuOps(); }

absl::Status GpuContext::SetShape(const OpDeviceShape& shape) {
  const KvShape& kv = shape.kv;
  if (!gpu::CanAttend(kv.head_dim) || kv.v_dim != kv.head_dim) {
    return Unimplemented(
        "heads of {} and values of {} on {}: expected both 16, 32, 64, 80, 96, 128 or 256",
        kv.head_dim, kv.v_dim, device_->info().name);
  }
  if (kv.type != DType::kF16 && kv.type != DType::kBF16) {
    return Unimplemented("kv_type {} on {}: expected F16 or BF16", Name(kv.type),
                         device_->info().name);
  }
  if (kv.kv_heads < 1 || shape.heads % kv.kv_heads != 0) {
    return Unimplemented("{} heads that share {} of keys on {}", shape.heads, kv.kv_heads,
                         device_->info().name);
  }
  if (shape.hidden % 4 != 0 || shape.hidden > gpu::kMaxNormWidth) {
    return Unimplemented("a hidden size of {} on {}: expected a multiple of 4 up to {}",
                         shape.hidden, device_->info().name, gpu::kMaxNormWidth);
  }
  if (shape.experts > gpu::kMostExperts || shape.expert_groups > gpu::kMostExpertGroups) {
    return Unimplemented("{} experts in {} groups on {}: expected at most {} in {}", shape.experts,
                         shape.expert_groups, device_->info().name, gpu::kMostExperts,
                         gpu::kMostExpertGroups);
  }
  attention_.heads = shape.heads;
  attention_.kv_heads = kv.kv_heads;
  attention_.head_dim = kv.head_dim;
  attention_.kv_type = kv.type == DType::kF16 ? gpu::KvType::kHalf : gpu::KvType::kBf16;
  return absl::OkStatus();
}

void GpuContext::PlanWeights() { planning_ = true; }

absl::Status GpuContext::TakeWeights(uint64_t reserve) {
  WEFT_RETURN_IF_ERROR(weights_.Commit(reserve));
  planning_ = false;
  for (Lane& lane : lanes_) {
    WEFT_ASSIGN_OR_RETURN(lane.stream, MakeStream(*device_));
    WEFT_ASSIGN_OR_RETURN(lane.pinned, MakePinnedBuffer(*device_, std::min(largest_, kLaneBytes)));
  }
  return absl::OkStatus();
}

absl::Status GpuContext::FinishWeights() {
  for (Lane& lane : lanes_) {
    WEFT_RETURN_IF_ERROR(device_->Synchronize(lane.stream.get()));
    lane = Lane();
  }
  return absl::OkStatus();
}

absl::Status GpuContext::Upload(const void* from, uint64_t bytes, DeviceArena::Slice to) {
  WEFT_CHECK(bytes == to.bytes);
  auto* target = weights_.At(to);
  for (uint64_t done = 0; done < bytes; done += kLaneBytes) {
    Lane& lane = lanes_[lane_];
    lane_ = (lane_ + 1) % lanes_.size();
    const uint64_t part = std::min(kLaneBytes, bytes - done);
    WEFT_RETURN_IF_ERROR(device_->Synchronize(lane.stream.get()));
    std::memcpy(lane.pinned.get(), static_cast<const uint8_t*>(from) + done, part);
    WEFT_RETURN_IF_ERROR(device_->CopyAsync(target + done, lane.pinned.get(), part,
                                            CopyKind::kToDevice, lane.stream.get()));
  }
  return absl::OkStatus();
}

absl::Status GpuContext::Keep(std::span<const float> values, std::string_view name) {
  if (planning_) {
    vectors_.push_back(weights_.Plan(name, values.size_bytes()));
    largest_ = std::max<uint64_t>(largest_, values.size_bytes());
    return absl::OkStatus();
  }
  WEFT_CHECK(next_vector_ < vectors_.size());
  const DeviceArena::Slice slice = vectors_[next_vector_++];
  constants_[values.data()] = weights_.At(slice);
  return Annotate(Upload(values.data(), values.size_bytes(), slice), name);
}

absl::StatusOr<Weight> GpuContext::KeepTable(const Weight& raw, std::string_view name) {
  return KeepMatrix(raw, gpu::CanEmbed, name);
}

absl::StatusOr<Weight> GpuContext::KeepMatrix(const Weight& raw, bool (*supported)(DType),
                                              std::string_view name) {
  Weight out = raw;
  if (!supported(raw.type)) out.type = DType::kBF16;
  out.owner = nullptr;
  const uint64_t bytes = *BytesFor(out.type, out.rows * out.cols);
  const MatrixKey key(raw.raw, out.type, bytes);
  if (planning_) {
    out.raw = nullptr;
    if (matrices_.contains(key)) return out;
    matrices_[key].slice = weights_.Plan(name, bytes);
    largest_ = std::max(largest_, bytes);
    return out;
  }
  const auto found = matrices_.find(key);
  if (found == matrices_.end()) return Internal("tensor {}: it has moved while loading", name);
  Matrix& matrix = found->second;
  if (!std::exchange(matrix.copied, true)) {
    const std::vector<uint16_t> rounded =
        out.type == raw.type ? std::vector<uint16_t>() : ToBf16(raw);
    const void* from = out.type == raw.type ? static_cast<const void*>(raw.raw) : rounded.data();
    WEFT_RETURN_IF_ERROR(Annotate(Upload(from, bytes, matrix.slice), name));
  }
  out.raw = weights_.At(matrix.slice);
  out.packed = out.raw;
  out.packed_bytes = bytes;
  return out;
}

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
  steps_ = nullptr;  // its memory first
  staging_ = PinnedBuffer();
  results_ = PinnedBuffer();
  steps_ = std::make_unique<DeviceArena>(*device_);
  limits_ = limits;
  const auto rows = static_cast<uint64_t>(limits.rows);
  const auto sequences = static_cast<uint64_t>(limits.sequences);
  const auto context = static_cast<uint64_t>(limits.context_tokens);
  const uint64_t pages = context / static_cast<uint64_t>(limits.block_tokens) + 1;
  // tokens, positions, slots, wanted rows, partial rows; angles; items; block tables.
  inputs_bytes_ = 5 * Rounded(rows * 4) +
                  2 * Rounded(rows * static_cast<uint64_t>(limits.angles) * 4) +
                  Rounded(rows * sizeof(gpu::AttentionItem)) + Rounded(sequences * pages * 4);
  inputs_ = steps_->Plan("step inputs", inputs_bytes_);
  const uint64_t chunks = context / gpu::kChunkTokens + 1;
  const auto floats = static_cast<uint64_t>(attention_.heads * (attention_.head_dim + 2));
  partial_ = steps_->Plan("partial attention",
                          chunks == 1 ? 0 : std::min(rows, sequences) * chunks * floats * 4);
  return absl::OkStatus();
}

uint64_t GpuContext::ExpertTileBytes(int64_t slots, int32_t experts) const {
  // Smaller steps may have more tiles for fewer slots, never more than slots.
  const int64_t tiles = std::min(slots, slots / gpu::ExpertTileRows(0, experts) + experts);
  return static_cast<uint64_t>(tiles) * sizeof(gpu::ExpertTile);
}

absl::Status GpuContext::TakeSteps(uint64_t reserve) {
  WEFT_RETURN_IF_ERROR(steps_->Commit(reserve));
  WEFT_ASSIGN_OR_RETURN(staging_, MakePinnedBuffer(*device_, inputs_bytes_));
  const uint64_t logits =
      static_cast<uint64_t>(limits_.logit_rows) * static_cast<uint64_t>(limits_.vocab) * 4;
  WEFT_ASSIGN_OR_RETURN(results_, MakePinnedBuffer(*device_, logits));
  return absl::OkStatus();
}

// Which rows share a block, and which are spread over one block for each chunk of their tokens.
void GpuContext::PlanAttention(const StepInputs& in) {
  items_.clear();
  tables_.clear();
  partial_rows_.assign(in.tokens.size(), -1);
  const int32_t together = gpu::AttentionItemRows(attention_.heads, attention_.kv_heads);
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
    for (int32_t r = 0; r < sequence.rows; r += together) {
      items_.push_back({sequence.first_row + r, std::min(together, sequence.rows - r),
                        sequence.first_position + r, table, spread ? 1 : 0});
    }
  }
  auto* partial = steps_->At(partial_);
  const auto sums = static_cast<uint64_t>(spread_rows) * static_cast<uint64_t>(attention_.heads) *
                    static_cast<uint64_t>(chunks) * static_cast<uint64_t>(attention_.head_dim);
  attention_.partial_o = reinterpret_cast<float*>(partial);
  attention_.partial_ml = reinterpret_cast<float*>(partial) + sums;
  attention_.item_count = static_cast<int32_t>(items_.size());
  attention_.rows = static_cast<int32_t>(in.tokens.size());
  attention_.block_tokens = limits_.block_tokens;
  attention_.chunks = chunks;
}

absl::Status GpuContext::BeginStep(const StepInputs& in) {
  WEFT_RETURN_IF_ERROR(std::exchange(error_, absl::OkStatus()));
  PlanAttention(in);
  step_.clear();
  Packer packer(static_cast<uint8_t*>(staging_.get()));
  auto* device = steps_->At(inputs_);
  const auto add = [&](auto values) {
    if (values.empty()) return;
    step_.push_back({values.data(), values.size_bytes(), device + packer.Add(values)});
  };
  add(in.tokens);
  add(in.positions);
  add(in.slots);
  add(in.wanted_rows);
  add(in.cos_sin);
  add(in.cos_sin_sliding);
  const auto own = [&]<typename T>(const std::vector<T>& values) {
    return reinterpret_cast<const T*>(device + packer.Add(std::span<const T>(values)));
  };
  attention_.items = own(items_);
  attention_.tables = own(tables_);
  attention_.partial_rows = own(partial_rows_);
  attention_.positions = Copy(in.positions.data());
  WEFT_CHECK(packer.bytes() <= inputs_bytes_);
  WEFT_RETURN_IF_ERROR(device_->CopyAsync(device, staging_.get(), packer.bytes(),
                                          CopyKind::kToDevice, stream_.get()));
  device_->BeginStep();
  in_step_ = true;
  return absl::OkStatus();
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

void GpuContext::Note(const gpu::LaunchResult& result) {
  if (result.error != nullptr) Note(gpu::ToStatus(result));
}
void GpuContext::Note(const absl::Status& status) {
  if (error_.ok()) error_ = status;
}

}  // namespace weft
