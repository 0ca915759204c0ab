#include "libs/model/hf_tensors.h"

#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <new>

#include "libs/base/ids.h"
#include "libs/base/status.h"
#include "libs/model/hf_names.h"
#include "libs/model/sha256.h"

namespace weft {
namespace {

using Stored = SafetensorsFile::Tensor;

std::string Shape(const std::vector<int64_t>& shape) {
  return fmt::format("[{}]", fmt::join(shape, ", "));
}

// A tensor ready to be split or stacked: row-major shape, a type that weights may have.
struct Ready {
  DType type = DType::kF32;
  std::vector<int64_t> shape;
  uint64_t bytes = 0;
  const uint8_t* data = nullptr;
  Fp8Scales scales = {};
};

}  // namespace

class HfTensorSource::Builder {
 public:
  Builder(HfTensorSource& out, const HfConfig& config) : out_(out), config_(config) {}

  absl::Status Run() {
    for (const Stored* tensor : out_.checkpoint_->tensors()) {
      if (absl::Status status = Add(*tensor); !status.ok()) {
        return Annotate(std::move(status), "tensor " + ShownName(tensor->name));
      }
    }
    WEFT_RETURN_IF_ERROR(StackExperts());
    std::vector<Tensor>& tensors = out_.tensors_;
    for (size_t i = 0; i < tensors.size(); ++i) {
      if (!out_.by_name_.emplace(tensors[i].name, i).second) {
        return InvalidArgument("two tensors of the checkpoint are {}", tensors[i].name);
      }
    }
    return absl::OkStatus();
  }

 private:
  const ModelConfig& model() const { return config_.model; }

  absl::Status Add(const Stored& tensor) {
    if (IsScale(tensor.name)) return absl::OkStatus();  // read with its matrix
    const std::optional<HfName> name =
        TranslateHfName(tensor.name, config_.layout, model().layers, model().moe.experts);
    if (!name.has_value()) {
      return Unimplemented("not supported in a model of architecture {} with {} layers",
                           model().architecture, model().layers);
    }
    if (name->action == HfAction::kIgnore) return absl::OkStatus();
    // A tied model is computed with its embedding, whatever else was saved.
    if (model().tied_embeddings && name->gguf == "output.weight") return absl::OkStatus();
    if (name->action == HfAction::kExpert) {
      experts_[name->gguf].push_back({name->expert, &tensor});
      return absl::OkStatus();
    }
    WEFT_ASSIGN_OR_RETURN(Ready ready, Prepare(tensor));
    switch (name->action) {
      case HfAction::kIgnore:
      case HfAction::kExpert:
        break;
      case HfAction::kKeep:
        Put(name->gguf, ready, 0, ready.shape[0]);
        break;
      case HfAction::kAddOne: {
        WEFT_ASSIGN_OR_RETURN(ready, Widen(ready));
        auto* values = const_cast<uint8_t*>(ready.data);  // ours: Widen made it
        for (uint64_t i = 0; i < ready.bytes; i += sizeof(float)) {
          float value = 0;
          std::memcpy(&value, values + i, sizeof(value));
          value += 1.0f;
          std::memcpy(values + i, &value, sizeof(value));
        }
        Put(name->gguf, ready, 0, ready.shape[0]);
        break;
      }
      case HfAction::kSplitQkv: {
        const int64_t q = static_cast<int64_t>(model().heads) * model().head_dim;
        const int64_t kv = static_cast<int64_t>(model().kv_heads) * model().head_dim;
        return Split(*name, ready, {{"attn_q", q}, {"attn_k", kv}, {"attn_v", kv}});
      }
      case HfAction::kSplitGateUp:
        return Split(*name, ready, {{"ffn_gate", model().ffn}, {"ffn_up", model().ffn}});
    }
    return absl::OkStatus();
  }

  // ---- Types

  // Scales of weights, and of activations and cached keys, which are not quantised here.
  static bool IsScale(std::string_view name) {
    for (const std::string_view end : {".weight_scale", ".weight_scale_inv", ".input_scale",
                                       ".activation_scale", ".k_scale", ".v_scale"}) {
      if (name.ends_with(end)) return true;
    }
    return false;
  }

  absl::StatusOr<Ready> Prepare(const Stored& tensor) {
    if (!tensor.type.has_value()) {
      return Unimplemented("dtype {} is not supported, only F32 F16 BF16 F8_E4M3", tensor.dtype);
    }
    if (tensor.shape.empty() || tensor.shape.size() > 3 || tensor.elements == 0) {
      return InvalidArgument("expected 1 to 3 dimensions above 0, found shape {}",
                             Shape(tensor.shape));
    }
    Ready ready{*tensor.type, tensor.shape, tensor.bytes, tensor.data};
    if (ready.type != DType::kF8E4M3) return ready;
    if (config_.keep_fp8) {
      WEFT_ASSIGN_OR_RETURN(ready.scales, ReadScales(tensor));
      return ready;
    }
    ready.type = DType::kF32;
    ready.bytes = tensor.bytes * sizeof(float);
    WEFT_ASSIGN_OR_RETURN(uint8_t* const memory, Allocate(ready.bytes));
    WEFT_RETURN_IF_ERROR(DequantiseFp8(tensor, reinterpret_cast<float*>(memory)));
    ready.data = memory;
    return ready;
  }

  // Said before the pages are touched: what cannot fit would otherwise be killed half-way.
  absl::StatusOr<uint8_t*> Allocate(uint64_t bytes) {
    const uint64_t memory = static_cast<uint64_t>(sysconf(_SC_PHYS_PAGES)) *
                            static_cast<uint64_t>(sysconf(_SC_PAGESIZE));
    if (bytes > memory || out_.owned_bytes_ > memory - bytes) {
      return ResourceExhausted(
          "{} bytes of tensors that must be converted do not fit {} bytes of memory",
          out_.owned_bytes_ + bytes, memory);
    }
    std::unique_ptr<uint8_t[]> block(new (std::nothrow) uint8_t[bytes]);
    if (block == nullptr) return ResourceExhausted("no memory for {} bytes of tensors", bytes);
    out_.owned_bytes_ += bytes;
    out_.owned_.push_back(std::move(block));
    return out_.owned_.back().get();
  }

  absl::StatusOr<Ready> Widen(const Ready& in) {
    const auto elements =
        static_cast<int64_t>(in.bytes / static_cast<uint64_t>(BlockBytes(in.type)));
    Ready out = in;
    out.type = DType::kF32;
    out.bytes = static_cast<uint64_t>(elements) * sizeof(float);
    WEFT_ASSIGN_OR_RETURN(uint8_t* const memory, Allocate(out.bytes));
    WEFT_CHECK(Dequantize(in.type, in.data, elements, reinterpret_cast<float*>(memory)));
    out.data = memory;
    return out;
  }

  // Scales: one, one for each row, or one for each block.
  absl::StatusOr<Fp8Scales> ReadScales(const Stored& tensor) {
    if (!config_.fp8) {
      return Unimplemented("dtype F8_E4M3 without quantization_config in config.json");
    }
    const Stored* scale = nullptr;
    for (const char* end : {"_scale", "_scale_inv"}) {
      if (scale == nullptr) scale = out_.checkpoint_->Find(tensor.name + end);
    }
    if (scale == nullptr) {
      return InvalidArgument("dtype F8_E4M3 needs a tensor {}_scale or _scale_inv",
                             ShownName(tensor.name));
    }
    if (!scale->type.has_value() || scale->type == DType::kF8E4M3) {
      return Unimplemented("its scale has dtype {}, only F32 F16 BF16 are supported", scale->dtype);
    }
    if (tensor.shape.size() != 2) {
      return Unimplemented("dtype F8_E4M3 with shape {} is not supported, only matrices",
                           Shape(tensor.shape));
    }
    const int64_t rows = tensor.shape[0];
    const int64_t cols = tensor.shape[1];
    int64_t block_rows = rows;
    int64_t block_cols = cols;
    std::vector<int64_t> expected = {1};
    if (config_.fp8_block_rows > 0) {
      block_rows = config_.fp8_block_rows;
      block_cols = config_.fp8_block_cols;
      expected = {(rows + block_rows - 1) / block_rows, (cols + block_cols - 1) / block_cols};
    } else if (scale->elements > 1) {
      block_rows = 1;
      expected = {rows, 1};
    }
    const bool one = scale->elements == 1 && config_.fp8_block_rows == 0;
    const bool flat = scale->shape.size() == 1 && expected.size() == 2 && expected[1] == 1 &&
                      scale->shape[0] == expected[0];
    if (!one && !flat && scale->shape != expected) {
      return InvalidArgument("its scale has shape {}, expected {}", Shape(scale->shape),
                             Shape(expected));
    }
    WEFT_ASSIGN_OR_RETURN(uint8_t* const memory,
                          Allocate(static_cast<uint64_t>(scale->elements) * sizeof(float)));
    auto* values = reinterpret_cast<float*>(memory);
    WEFT_CHECK(Dequantize(*scale->type, scale->data, scale->elements, values));
    return Fp8Scales{values, block_rows, block_cols};
  }

  // element * its scale, in fp32.
  absl::Status DequantiseFp8(const Stored& tensor, float* values) {
    WEFT_ASSIGN_OR_RETURN(const Fp8Scales scales, ReadScales(tensor));
    const int64_t rows = tensor.shape[0];
    const int64_t cols = tensor.shape[1];
    WEFT_CHECK(Dequantize(DType::kF8E4M3, tensor.data, rows * cols, values));
    for (int64_t r = 0; r < rows; ++r) {
      const float* row_scales = scales.Row(r, cols);
      for (int64_t c = 0; c < cols; ++c) values[r * cols + c] *= row_scales[c / scales.block_cols];
    }
    return absl::OkStatus();
  }

  // ---- Shapes

  // Rows [first, first + count) as a tensor of that name.
  void Put(const std::string& name, const Ready& ready, int64_t first, int64_t count) {
    const uint64_t row = ready.bytes / static_cast<uint64_t>(ready.shape[0]);
    Tensor tensor;
    tensor.name = name;
    tensor.type = ready.type;
    tensor.dims.assign(ready.shape.rbegin(), ready.shape.rend());
    tensor.dims.back() = count;
    tensor.bytes = row * static_cast<uint64_t>(count);
    tensor.data = ready.data + row * static_cast<uint64_t>(first);
    tensor.scales = ready.scales;
    tensor.scales.first_row = first;
    out_.tensors_.push_back(std::move(tensor));
  }

  struct Part {
    std::string_view name;
    int64_t rows;
  };
  absl::Status Split(const HfName& name, const Ready& ready, std::initializer_list<Part> parts) {
    int64_t rows = 0;
    for (const Part& part : parts) rows += part.rows;
    if (ready.shape[0] != rows || ready.shape.size() > 2) {
      return InvalidArgument("expected {} rows to split, found shape {}", rows, Shape(ready.shape));
    }
    int64_t first = 0;
    for (const Part& part : parts) {
      Put(fmt::format("{}{}.{}", name.gguf, part.name, name.end), ready, first, part.rows);
      first += part.rows;
    }
    return absl::OkStatus();
  }

  // [experts, rows, cols]. The only copy of each: FP8 is dequantised into its place.
  absl::Status StackExperts() {
    for (auto& [name, parts] : experts_) {
      if (absl::Status status = Stack(name, parts); !status.ok()) {
        return Annotate(std::move(status), "tensor " + name);
      }
    }
    return absl::OkStatus();
  }

  struct Expert {
    int32_t index;
    const Stored* tensor;
  };
  absl::Status Stack(const std::string& name, std::vector<Expert>& parts) {
    std::sort(parts.begin(), parts.end(),
              [](const Expert& a, const Expert& b) { return a.index < b.index; });
    const Stored& first = *parts.front().tensor;
    for (const Expert& part : parts) {
      const Stored& each = *part.tensor;
      if (!each.type.has_value() || each.shape != first.shape || each.type != first.type ||
          each.shape.size() != 2 || each.elements == 0) {
        return InvalidArgument("expert {} is {} {}, expert {} is {} {}", parts.front().index,
                               first.dtype, Shape(first.shape), part.index, each.dtype,
                               Shape(each.shape));
      }
    }
    if (parts.size() != static_cast<size_t>(model().moe.experts)) {
      return InvalidArgument("expected {} experts, found {}", model().moe.experts, parts.size());
    }
    const bool fp8 = first.type == DType::kF8E4M3;
    const uint64_t each_bytes = first.bytes * (fp8 ? sizeof(float) : 1);
    Ready stack{fp8 ? DType::kF32 : *first.type,
                {static_cast<int64_t>(parts.size()), first.shape[0], first.shape[1]},
                each_bytes * parts.size(),
                nullptr};
    WEFT_ASSIGN_OR_RETURN(uint8_t* const memory, Allocate(stack.bytes));
    stack.data = memory;
    for (size_t i = 0; i < parts.size(); ++i) {
      const Stored& part = *parts[i].tensor;
      uint8_t* to = memory + each_bytes * i;
      if (fp8) {
        WEFT_RETURN_IF_ERROR(DequantiseFp8(part, reinterpret_cast<float*>(to)));
      } else {
        std::memcpy(to, part.data, each_bytes);
      }
      out_.Release(part.data, part.bytes);
    }
    Put(name, stack, 0, stack.shape[0]);
    return absl::OkStatus();
  }

  HfTensorSource& out_;
  const HfConfig& config_;
  std::map<std::string, std::vector<Expert>> experts_;
};

absl::StatusOr<std::shared_ptr<const HfTensorSource>> HfTensorSource::Create(
    std::shared_ptr<const SafetensorsCheckpoint> checkpoint, const HfConfig& config,
    std::string config_json) {
  std::shared_ptr<HfTensorSource> source(new HfTensorSource());
  source->checkpoint_ = std::move(checkpoint);
  source->config_json_ = std::move(config_json);
  WEFT_RETURN_IF_ERROR(Builder(*source, config).Run());
  return std::shared_ptr<const HfTensorSource>(std::move(source));
}

const Tensor* HfTensorSource::Find(std::string_view name) const {
  const auto found = by_name_.find(name);
  return found == by_name_.end() ? nullptr : &tensors_[found->second];
}

std::string HfTensorSource::Sha256() const {
  weft::Sha256 hash;
  hash.Add(config_json_);
  for (const SafetensorsCheckpoint::Shard& shard : checkpoint_->shards()) {
    hash.Add(shard.file->contents(), [&shard](std::string_view slice) {
      shard.file->Release(reinterpret_cast<const uint8_t*>(slice.data()), slice.size());
    });
  }
  return Hex(hash.Digest());
}

uint64_t HfTensorSource::bytes() const {
  uint64_t total = owned_bytes_;
  for (const SafetensorsCheckpoint::Shard& shard : checkpoint_->shards()) {
    total += shard.file->contents().size();
  }
  return total;
}

void HfTensorSource::Release(const uint8_t* data, uint64_t bytes) const {
  for (const SafetensorsCheckpoint::Shard& shard : checkpoint_->shards()) {
    const std::string_view contents = shard.file->contents();
    const auto* begin = reinterpret_cast<const uint8_t*>(contents.data());
    if (data >= begin && data < begin + contents.size()) {
      shard.file->Release(data, bytes);
      return;
    }
  }
}

void HfTensorSource::ReleaseAll() const {
  for (const SafetensorsCheckpoint::Shard& shard : checkpoint_->shards()) {
    const std::string_view contents = shard.file->contents();
    shard.file->Release(reinterpret_cast<const uint8_t*>(contents.data()), contents.size());
  }
}

}  // namespace weft
