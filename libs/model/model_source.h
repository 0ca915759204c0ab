// What a model is loaded from: its configuration and its tensors, wherever they lie.
#pragma once

#include <absl/status/statusor.h>

#include <memory>
#include <string>

#include "libs/model/model_config.h"
#include "libs/model/tensor_source.h"

namespace weft {

class GgufFile;

struct ModelSource {
  ModelConfig config;
  std::shared_ptr<const TensorSource> tensors;
  std::string path;  // that it was opened from; empty: memory

  // A GGUF file, or a Hugging Face folder: config.json, generation_config.json if it is there, and
  // safetensors. Errors name the path.
  // With `keep_fp8` matrices in FP8 stay so, with their scales, instead of becoming fp32.
  static absl::StatusOr<ModelSource> Open(const std::string& path, bool keep_fp8 = false);
  // `mapped`: the file was opened from a path, so pages of it that were repacked can be given back.
  static absl::StatusOr<ModelSource> FromGguf(std::shared_ptr<const GgufFile> file, bool mapped);
  static absl::StatusOr<ModelSource> FromHuggingFace(const std::string& folder,
                                                     bool keep_fp8 = false);
};

}  // namespace weft
