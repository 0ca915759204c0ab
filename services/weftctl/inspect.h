// What is in a model's files, for people and for programs.
#pragma once

#include <absl/status/statusor.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "libs/gguf/gguf.h"
#include "libs/model/memory.h"
#include "libs/model/model_config.h"
#include "libs/model/tensor_source.h"
#include "services/weftctl/tensor_check.h"

namespace weft::ctl {

struct InspectedModel {
  std::string path;
  std::shared_ptr<const GgufFile> metadata;  // null for a Hugging Face folder
  std::shared_ptr<const TensorSource> tensors;
  absl::StatusOr<ModelConfig> config = absl::UnknownError("");  // why it cannot be run, if so
  std::optional<TensorCheck> check;                             // when its values have been read
};

// A GGUF file (the first part of a split one) or a folder with config.json and safetensors.
absl::StatusOr<InspectedModel> OpenForInspection(const std::string& path);

// Sizes, types, the memory it takes at several context lengths; with `everything`, all metadata and
// tensors. Never fails, whatever the metadata hold; no control characters of theirs come out.
std::string InspectionText(const InspectedModel& model, bool everything);
// The same as JSON, always with everything.
std::string InspectionJson(const InspectedModel& model);

}  // namespace weft::ctl
