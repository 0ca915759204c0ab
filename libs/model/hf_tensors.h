// The safetensors of a Hugging Face folder as a TensorSource: under GGUF's names, fused matrices
// split, experts of a layer stacked, Gemma's norms completed, FP8 dequantised.
//
// What needs no change points into the mapped files. Matrices in FP8 (E4M3) become F32 unless
// HfConfig::keep_fp8: each
// element times its scale, computed in fp32 as transformers dequantises them; that is four times
// the bytes, which the cpu table gives back when it has repacked a matrix. Experts and what is
// computed are copies too.
#pragma once

#include <absl/status/statusor.h>

#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "libs/model/hf_config.h"
#include "libs/model/tensor_source.h"
#include "libs/safetensors/checkpoint.h"

namespace weft {

class HfTensorSource final : public TensorSource {
 public:
  // Errors name the tensor as the checkpoint calls it: of a name that the layout does not know, a
  // dtype that no weight may have, a shape that cannot be split, a missing scale or expert.
  // `config_json` is hashed with the tensors: the same weights under another configuration are
  // another model.
  static absl::StatusOr<std::shared_ptr<const HfTensorSource>> Create(
      std::shared_ptr<const SafetensorsCheckpoint> checkpoint, const HfConfig& config,
      std::string config_json);

  std::span<const Tensor> tensors() const override { return tensors_; }
  const Tensor* Find(std::string_view name) const override;
  std::string Sha256() const override;
  uint64_t bytes() const override;
  void Release(const uint8_t* data, uint64_t bytes) const override;
  void ReleaseAll() const override;

 private:
  class Builder;
  HfTensorSource() = default;

  std::shared_ptr<const SafetensorsCheckpoint> checkpoint_;
  std::string config_json_;
  std::vector<std::unique_ptr<uint8_t[]>> owned_;
  uint64_t owned_bytes_ = 0;
  std::vector<Tensor> tensors_;
  std::map<std::string_view, size_t> by_name_;
};

}  // namespace weft
