// A GGUF file as the source of a model's tensors.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "libs/model/tensor_source.h"

namespace weft {

class GgufFile;

class GgufSource final : public TensorSource {
 public:
  // `mapped`: the file was opened from a path, so its pages can be given back.
  GgufSource(std::shared_ptr<const GgufFile> file, bool mapped);

  std::span<const Tensor> tensors() const override { return tensors_; }
  const Tensor* Find(std::string_view name) const override;
  std::string Sha256() const override;
  uint64_t bytes() const override;
  void Release(const uint8_t* data, uint64_t bytes) const override;
  void ReleaseAll() const override;

 private:
  std::shared_ptr<const GgufFile> file_;
  bool mapped_;
  std::vector<Tensor> tensors_;
  std::map<std::string_view, size_t> by_name_;
};

}  // namespace weft
