// The tensors of a Hugging Face folder as llama.cpp's files have them: rows of queries and keys
// permuted where the architecture rotates neighbours, latent attention's expansion split and
// transposed, the fused matrices of Phi 3 and StarCoder in one piece, RoPE factors as tensors.
#pragma once

#include <absl/status/statusor.h>

#include <map>
#include <memory>
#include <string_view>
#include <vector>

#include "libs/model/model_config.h"
#include "libs/model/tensor_source.h"

namespace weft {

// What is changed is copied; everything else points into `source`. Immutable; thread safe.
class GgufLayoutSource final : public TensorSource {
 public:
  // `config` is that of the folder. `pairing` is the one that GGUF's reader takes for the
  // architecture. INVALID_ARGUMENT names a tensor whose shape does not fit the configuration.
  static absl::StatusOr<std::shared_ptr<const GgufLayoutSource>> Create(
      std::shared_ptr<const TensorSource> source, const ModelConfig& config, RopePairing pairing);

  std::span<const Tensor> tensors() const override { return tensors_; }
  const Tensor* Find(std::string_view name) const override;
  std::string Sha256() const override { return source_->Sha256(); }
  uint64_t bytes() const override { return source_->bytes() + owned_bytes_; }
  void Release(const uint8_t* data, uint64_t bytes) const override {
    source_->Release(data, bytes);
  }
  void ReleaseAll() const override { source_->ReleaseAll(); }

 private:
  class Builder;
  GgufLayoutSource() = default;

  std::shared_ptr<const TensorSource> source_;
  std::vector<std::unique_ptr<uint8_t[]>> owned_;
  uint64_t owned_bytes_ = 0;
  std::vector<Tensor> tensors_;
  std::map<std::string_view, size_t> by_name_;
};

}  // namespace weft
