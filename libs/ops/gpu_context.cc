#include "libs/ops/gpu_context.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "libs/base/status.h"
#include "libs/device/cpu_features.h"
#include "libs/ops/embed_gpu.h"
#include "libs/ops/expert_gpu.h"
#include "libs/ops/gpu_status.h"
#include "libs/ops/gpu_table.h"
#include "libs/ops/latent_gpu.h"
#include "libs/ops/norm_gpu.h"
#include "libs/ops/random_gpu.h"

namespace weft {
namespace {

// Of one copy of weights.
constexpr uint64_t kLaneBytes = uint64_t{32} << 20;
// Threads that fill it, and what each takes at a time.
constexpr int kFillers = 8;
constexpr uint64_t kPiece = uint64_t{1} << 20;

// The values of a matrix, rounded to bf16.
std::vector<uint16_t> ToBf16(const Weight& raw) {
  std::vector<float> row(static_cast<size_t>(raw.cols));
  std::vector<uint16_t> out(static_cast<size_t>(raw.rows * raw.cols));
  uint16_t* to = out.data();
  for (int64_t n = 0; n < raw.rows; ++n) {
    const uint8_t* from = raw.raw + *BytesFor(raw.type, n * raw.cols);
    WEFT_CHECK(Dequantize(raw.type, from, raw.cols, row.data()));
    if (raw.scales.values != nullptr) {
      const float* scales = raw.scales.Row(n, raw.cols);
      for (int64_t c = 0; c < raw.cols; ++c)
        row[static_cast<size_t>(c)] *= scales[c / raw.scales.block_cols];
    }
    for (const float value : row) {
      uint32_t bits = 0;
      std::memcpy(&bits, &value, 4);
      *to++ = static_cast<uint16_t>((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
    }
  }
  return out;
}

// The scales as matmul_fp8_gpu.h wants them: one a row, or one for each 128 x 128. Nothing for
// blocks of another kind.
std::optional<std::vector<float>> DeviceScales(const Weight& raw) {
  constexpr int64_t kBlock = 128;
  const Fp8Scales& scales = raw.scales;
  std::vector<float> out;
  if (scales.values == nullptr) {
    out.assign(static_cast<size_t>(raw.rows), 1.0f);
  } else if (scales.block_cols == raw.cols) {
    for (int64_t row = 0; row < raw.rows; ++row) out.push_back(*scales.Row(row, raw.cols));
  } else if (scales.block_rows == kBlock && scales.block_cols == kBlock &&
             scales.first_row % kBlock == 0) {
    for (int64_t row = 0; row < raw.rows; row += kBlock) {
      const float* from = scales.Row(row, raw.cols);
      out.insert(out.end(), from, from + (raw.cols + kBlock - 1) / kBlock);
    }
  } else {
    return std::nullopt;
  }
  return out;
}

}  // namespace

absl::StatusOr<std::shared_ptr<GpuContext>> GpuContext::Create(std::unique_ptr<Device> device,
                                                               gpu::Numerics numerics) {
  std::shared_ptr<GpuContext> context(new GpuContext(std::move(device), numerics));
  WEFT_ASSIGN_OR_RETURN(context->stream_, MakeStream(*context->device_));
  return context;
}

GpuContext::~GpuContext() {
  if (in_step_) device_->EndStep();
  if (stream_) (void)device_->Synchronize(stream_.get());
}

const OpTable& GpuContext::table() const { return GpuOps(); }

absl::Status GpuContext::SetShape(const OpDeviceShape& shape) {
  const KvShape& kv = shape.kv;
  latent_rope_dim_ = shape.latent > 0 ? kv.head_dim - shape.latent : 0;
  if (shape.latent > 0) {
    if (!gpu::CanAttendLatent(shape.latent, latent_rope_dim_) || kv.kv_heads != 1) {
      return Unimplemented("latents of {} and {} rotating elements on {}: expected 512 and 64",
                           shape.latent, latent_rope_dim_, device_->info().name);
    }
    if (!stages_large_tiles()) {
      return Unimplemented("latent attention on {}: {} bytes of shared memory a block are too few",
                           device_->info().name, device_->info().shared_bytes_per_block);
    }
  } else if (!gpu::CanAttend(kv.head_dim) || kv.v_dim != kv.head_dim) {
    return Unimplemented(
        "heads of {} and values of {} on {}: expected both 16, 32, 64, 80, 96, 128 or 256",
        kv.head_dim, kv.v_dim, device_->info().name);
  }
  const bool bytes = kv.type == DType::kF8E4M3 && shape.latent == 0;
  if (kv.type != DType::kF16 && kv.type != DType::kBF16 && !bytes) {
    return Unimplemented("kv_type {} on {}: expected F16{} or BF16", Name(kv.type),
                         device_->info().name, shape.latent == 0 ? ", F8_E4M3" : "");
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
  weights_bf16_ = shape.weights_bf16;
  attention_.heads = shape.heads;
  attention_.kv_heads = kv.kv_heads;
  attention_.head_dim = shape.latent > 0 ? shape.latent : kv.head_dim;
  attention_.kv_type = bytes                    ? gpu::KvType::kFp8
                       : kv.type == DType::kF16 ? gpu::KvType::kHalf
                                                : gpu::KvType::kBf16;
  return absl::OkStatus();
}

void GpuContext::PlanWeights() { planning_ = true; }

absl::Status GpuContext::TakeWeights(uint64_t reserve) {
  WEFT_RETURN_IF_ERROR(weights_.Commit(reserve));
  planning_ = false;
  load_begin_ = std::chrono::steady_clock::now();
  // One thread copies slower than the bus takes it.
  fillers_ = std::make_unique<ThreadTeam>(
      ThreadTeam::Options{.threads = std::min(kFillers, AvailableCpus())});
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
  fillers_ = nullptr;
  WEFT_RETURN_IF_ERROR(device_->Synchronize(stream_.get()));
  rate_.seconds =
      std::chrono::duration<double>(std::chrono::steady_clock::now() - load_begin_).count();
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
    fillers_->ParallelFor(
        static_cast<int64_t>((part + kPiece - 1) / kPiece), [&](int64_t piece, int) {
          const uint64_t at = static_cast<uint64_t>(piece) * kPiece;
          std::memcpy(static_cast<uint8_t*>(lane.pinned.get()) + at,
                      static_cast<const uint8_t*>(from) + done + at, std::min(kPiece, part - at));
        });
    WEFT_RETURN_IF_ERROR(device_->CopyAsync(target + done, lane.pinned.get(), part,
                                            CopyKind::kToDevice, lane.stream.get()));
  }
  rate_.bytes += bytes;
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

absl::StatusOr<Weight> GpuContext::KeepBf16(const Weight& raw, std::string_view name) {
  return KeepMatrix(
      raw, [](DType type) { return type == DType::kBF16; }, name);
}

absl::StatusOr<Weight> GpuContext::KeepMatrix(const Weight& raw, bool (*supported)(DType),
                                              std::string_view name) {
  Weight out = raw;
  if (weights_bf16_ || !supported(raw.type)) out.type = DType::kBF16;
  out.owner = nullptr;
  std::optional<std::vector<float>> scales;
  if (out.type == DType::kF8E4M3) {
    scales = DeviceScales(raw);
    if (!scales.has_value()) out.type = DType::kBF16;
  }
  const uint64_t matrix_bytes = *BytesFor(out.type, out.rows * out.cols);
  const uint64_t bytes = matrix_bytes + (scales ? scales->size() * sizeof(float) : 0);
  const bool made = raw.owner != nullptr;
  const MatrixKey key(made ? nullptr : raw.raw, made ? std::string(name) : "", out.type, bytes);
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
  if (made_up_ && !std::exchange(matrix.copied, true)) {
    if (!gpu::CanMakeUp(out.type)) return Unimplemented("made-up weights of {}", Name(out.type));
    WEFT_RETURN_IF_ERROR(gpu::ToStatus(gpu::FillRandom(out.type,
                                                       {.to = weights_.At(matrix.slice),
                                                        .bytes = matrix_bytes,
                                                        .seed = ++*made_up_ << 32,
                                                        .deviation = 0.02f},
                                                       stream_.get())));
    if (scales.has_value()) {
      const DeviceArena::Slice after{matrix.slice.offset + matrix_bytes, bytes - matrix_bytes};
      WEFT_RETURN_IF_ERROR(Annotate(Upload(scales->data(), after.bytes, after), name));
    }
  }
  if (!std::exchange(matrix.copied, true)) {
    const std::vector<uint16_t> rounded =
        out.type == raw.type ? std::vector<uint16_t>() : ToBf16(raw);
    const void* from = out.type == raw.type ? static_cast<const void*>(raw.raw) : rounded.data();
    DeviceArena::Slice slice = matrix.slice;
    slice.bytes = matrix_bytes;
    WEFT_RETURN_IF_ERROR(Annotate(Upload(from, matrix_bytes, slice), name));
    if (scales.has_value()) {
      const DeviceArena::Slice after{slice.offset + matrix_bytes, bytes - matrix_bytes};
      WEFT_RETURN_IF_ERROR(Annotate(Upload(scales->data(), after.bytes, after), name));
    }
  }
  out.raw = weights_.At(matrix.slice);
  out.packed = out.raw;
  out.packed_bytes = bytes;
  AddProduct(out, scales.has_value() && scales->size() != static_cast<size_t>(out.rows));
  return out;
}

uint64_t GpuContext::ExpertTileBytes(int64_t slots, int32_t experts) const {
  // Smaller steps may have more tiles for fewer slots, never more than slots.
  const int64_t tiles = std::min(slots, slots / gpu::ExpertTileRows(0, experts) + experts);
  return static_cast<uint64_t>(tiles) * sizeof(gpu::ExpertTile);
}

void GpuContext::Note(const gpu::LaunchResult& result) {
  if (result.error != nullptr) Note(gpu::ToStatus(result));
}
void GpuContext::Note(const absl::Status& status) {
  if (error_.ok()) error_ = status;
}

}  // namespace weft
