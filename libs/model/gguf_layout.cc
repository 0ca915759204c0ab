#include "libs/model/gguf_layout.h"

#include <cstring>
#include <string>

#include "libs/base/status.h"
#include "libs/model/gguf_metadata.h"

namespace weft {
namespace {

// Of a matrix, or of a vector's element.
uint64_t RowBytes(const Tensor& tensor) {
  return tensor.bytes / static_cast<uint64_t>(tensor.dims.back());
}

bool EndsWith(std::string_view name, std::string_view part, std::string_view* prefix) {
  for (const std::string_view end : {"weight", "bias"}) {
    const std::string whole = fmt::format("{}.{}", part, end);
    if (!name.ends_with(whole)) continue;
    *prefix = name.substr(0, name.size() - whole.size());
    return prefix->ends_with('.');
  }
  return false;
}

}  // namespace

class GgufLayoutSource::Builder {
 public:
  Builder(GgufLayoutSource& out, const ModelConfig& config, RopePairing pairing)
      : out_(out),
        config_(config),
        permute_(config.rope_dim > 0 && pairing != config.rope_pairing) {}

  absl::Status Run() {
    if (permute_ && (config_.rope_pairing != RopePairing::kHalves || config_.qk_norm)) {
      return Unimplemented("architecture {} rotates other elements in GGUF", config_.architecture);
    }
    for (const Tensor& tensor : out_.source_->tensors()) WEFT_RETURN_IF_ERROR(Add(tensor));
    const RopeFactorTensors factors = RopeFactorsOf(config_);
    AddVector("rope_freqs.weight", factors.all);
    AddVector("rope_factors_long.weight", factors.long_ones);
    AddVector("rope_factors_short.weight", factors.short_ones);
    for (size_t i = 0; i < out_.tensors_.size(); ++i) {
      out_.by_name_.emplace(out_.tensors_[i].name, i);
    }
    return absl::OkStatus();
  }

 private:
  absl::Status Add(const Tensor& tensor) {
    std::string_view layer;
    const std::string_view name = tensor.name;
    if (config_.mla.kv_lora > 0 && EndsWith(name, "attn_kv_b", &layer)) {
      return SplitKvB(tensor, std::string(layer));
    }
    if (config_.architecture == "starcoder" || config_.architecture == "phi3") {
      if (EndsWith(name, "attn_q", &layer)) {
        return Fuse(tensor, layer, {"attn_q", "attn_k", "attn_v"}, "attn_qkv");
      }
      if (EndsWith(name, "attn_k", &layer) || EndsWith(name, "attn_v", &layer)) {
        return absl::OkStatus();
      }
    }
    if (config_.architecture == "phi3") {
      if (EndsWith(name, "ffn_gate", &layer)) {
        return Fuse(tensor, layer, {"ffn_gate", "ffn_up"}, "ffn_up");
      }
      if (EndsWith(name, "ffn_up", &layer)) return absl::OkStatus();
    }
    if (permute_ && config_.mla.kv_lora == 0) {
      if (EndsWith(name, "attn_q", &layer)) return Permute(tensor, config_.heads);
      if (EndsWith(name, "attn_k", &layer)) return Permute(tensor, config_.kv_heads);
    }
    out_.tensors_.push_back(tensor);
    return absl::OkStatus();
  }

  uint8_t* Allocate(uint64_t bytes) {
    out_.owned_.push_back(std::make_unique_for_overwrite<uint8_t[]>(bytes));
    out_.owned_bytes_ += bytes;
    return out_.owned_.back().get();
  }

  // Rows i and i + rope_dim / 2 of a head become neighbours; those that do not rotate stay.
  absl::Status Permute(const Tensor& tensor, int32_t heads) {
    const int64_t rows = static_cast<int64_t>(heads) * config_.head_dim;
    if (tensor.dims.back() != rows || tensor.dims.size() > 2) {
      return InvalidArgument("tensor {}: expected {} rows, found {}", tensor.name, rows,
                             tensor.dims.back());
    }
    const uint64_t row = RowBytes(tensor);
    uint8_t* to = Allocate(tensor.bytes);
    Tensor permuted = tensor;
    permuted.data = to;
    const int32_t half = config_.rope_dim / 2;
    for (int64_t first = 0; first < rows; first += config_.head_dim) {
      for (int32_t i = 0; i < config_.head_dim; ++i) {
        const int32_t from = i >= config_.rope_dim ? i : i / 2 + (i % 2) * half;
        std::memcpy(to, tensor.data + static_cast<uint64_t>(first + from) * row, row);
        to += row;
      }
    }
    out_.tensors_.push_back(std::move(permuted));
    return absl::OkStatus();
  }

  // The rows of several tensors, one after another; `first` is the first of them.
  absl::Status Fuse(const Tensor& first, std::string_view layer,
                    std::initializer_list<std::string_view> parts, std::string_view name) {
    const std::string end = first.name.substr(first.name.rfind('.') + 1);
    Tensor fused = first;
    fused.name = fmt::format("{}{}.{}", layer, name, end);
    fused.bytes = 0;
    fused.dims.back() = 0;
    std::vector<const Tensor*> all;
    for (const std::string_view part : parts) {
      const std::string wanted = fmt::format("{}{}.{}", layer, part, end);
      const Tensor* tensor = out_.source_->Find(wanted);
      if (tensor == nullptr) return InvalidArgument("tensor {}: missing", wanted);
      if (tensor->type != first.type || tensor->dims.size() != first.dims.size() ||
          tensor->dims.front() !=
              (first.dims.size() == 1 ? tensor->dims.front() : first.dims.front())) {
        return InvalidArgument("tensor {}: type and columns must be those of {}", wanted,
                               first.name);
      }
      all.push_back(tensor);
      fused.bytes += tensor->bytes;
      fused.dims.back() += tensor->dims.back();
    }
    uint8_t* to = Allocate(fused.bytes);
    fused.data = to;
    for (const Tensor* tensor : all) {
      std::memcpy(to, tensor->data, tensor->bytes);
      to += tensor->bytes;
    }
    out_.tensors_.push_back(std::move(fused));
    return absl::OkStatus();
  }

  // [heads * (nope_dim + v_dim), kv_lora]: of each head the keys' rows, transposed, and the
  // values'.
  absl::Status SplitKvB(const Tensor& tensor, const std::string& layer) {
    const MlaConfig& mla = config_.mla;
    const int64_t per_head = mla.nope_dim + mla.v_dim;
    const std::vector<int64_t> expected = {mla.kv_lora, config_.heads * per_head};
    if (tensor.dims != expected) {
      return InvalidArgument("tensor {}: expected shape [{}], found [{}]", tensor.name,
                             fmt::join(expected, ", "), fmt::join(tensor.dims, ", "));
    }
    const uint64_t element = tensor.bytes / static_cast<uint64_t>(tensor.elements());
    const auto lora = static_cast<uint64_t>(mla.kv_lora);
    const auto nope = static_cast<uint64_t>(mla.nope_dim);
    const auto heads = static_cast<uint64_t>(config_.heads);
    const uint64_t value_bytes = static_cast<uint64_t>(mla.v_dim) * lora * element;
    Tensor keys{layer + "attn_k_b.weight",
                tensor.type,
                {mla.nope_dim, mla.kv_lora, config_.heads},
                heads * nope * lora * element,
                nullptr};
    Tensor values{layer + "attn_v_b.weight",
                  tensor.type,
                  {mla.kv_lora, mla.v_dim, config_.heads},
                  heads * value_bytes,
                  nullptr};
    uint8_t* key = Allocate(keys.bytes);
    uint8_t* value = Allocate(values.bytes);
    keys.data = key;
    values.data = value;
    const uint8_t* from = tensor.data;
    for (uint64_t h = 0; h < heads; ++h) {
      for (uint64_t row = 0; row < nope; ++row) {
        for (uint64_t i = 0; i < lora; ++i, from += element) {
          std::memcpy(key + (i * nope + row) * element, from, element);
        }
      }
      key += nope * lora * element;
      std::memcpy(value, from, value_bytes);
      from += value_bytes;
      value += value_bytes;
    }
    out_.tensors_.push_back(std::move(keys));
    out_.tensors_.push_back(std::move(values));
    return absl::OkStatus();
  }

  void AddVector(std::string name, const std::vector<float>& values) {
    if (values.empty()) return;
    const uint64_t bytes = values.size() * sizeof(float);
    uint8_t* data = Allocate(bytes);
    std::memcpy(data, values.data(), bytes);
    out_.tensors_.push_back(
        {std::move(name), DType::kF32, {static_cast<int64_t>(values.size())}, bytes, data});
  }

  GgufLayoutSource& out_;
  const ModelConfig& config_;
  const bool permute_;
};

absl::StatusOr<std::shared_ptr<const GgufLayoutSource>> GgufLayoutSource::Create(
    std::shared_ptr<const TensorSource> source, const ModelConfig& config, RopePairing pairing) {
  std::shared_ptr<GgufLayoutSource> out(new GgufLayoutSource());
  out->source_ = std::move(source);
  WEFT_RETURN_IF_ERROR(Builder(*out, config, pairing).Run());
  return std::shared_ptr<const GgufLayoutSource>(std::move(out));
}

const Tensor* GgufLayoutSource::Find(std::string_view name) const {
  const auto found = by_name_.find(name);
  return found == by_name_.end() ? nullptr : &tensors_[found->second];
}

}  // namespace weft
