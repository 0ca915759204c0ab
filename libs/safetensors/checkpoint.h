// The tensors of a Hugging Face folder: `model.safetensors`, or the shards that
// `model.safetensors.index.json` names.
#pragma once

#include <absl/status/statusor.h>

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "libs/safetensors/safetensors.h"

namespace weft {

// Immutable after opening; thread safe. Tensor pointers live as long as the checkpoint.
class SafetensorsCheckpoint {
 public:
  struct Shard {
    std::string name;  // of the file, without its folder
    std::shared_ptr<const SafetensorsFile> file;
  };

  // Every tensor that the index names must be in the shard it names, and no tensor in two shards.
  // As in transformers, tensors that the shards hold and the index does not name are there too.
  // Shards are plain file names in the folder. NOT_FOUND when the folder has neither file.
  static absl::StatusOr<std::shared_ptr<const SafetensorsCheckpoint>> Open(
      const std::string& folder, const SafetensorsLimits& limits = {});

  const std::vector<Shard>& shards() const { return shards_; }  // sorted by name
  const std::vector<const SafetensorsFile::Tensor*>& tensors() const {
    return tensors_;
  }                                                                  // by name
  const SafetensorsFile::Tensor* Find(std::string_view name) const;  // null when absent

 private:
  SafetensorsCheckpoint() = default;
  absl::Status OpenShards(const std::string& folder, const SafetensorsLimits& limits);
  absl::Status AddShard(const std::string& folder, const std::string& name,
                        const SafetensorsLimits& limits);
  absl::Status IndexTensors();

  std::vector<Shard> shards_;
  std::vector<const SafetensorsFile::Tensor*> tensors_;
};

// `weight_map` of model.safetensors.index.json: (tensor, shard) pairs, sorted by tensor. Names of
// shards are checked to be plain names of .safetensors files.
absl::StatusOr<std::vector<std::pair<std::string, std::string>>> ParseSafetensorsIndex(
    std::string_view text, const SafetensorsLimits& limits = {});

}  // namespace weft
