#include "libs/safetensors/checkpoint.h"

#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <set>

#include "libs/base/status.h"
#include "libs/json/strict_json.h"

namespace weft {
namespace {

using nlohmann::json;
using Tensor = SafetensorsFile::Tensor;

constexpr char kIndexName[] = "model.safetensors.index.json";
constexpr char kSingleName[] = "model.safetensors";
constexpr std::string_view kExtension = ".safetensors";
constexpr size_t kMaxShards = 4096;
constexpr size_t kMaxShardNameBytes = 255;

// A name that cannot leave the folder.
bool IsPlainShardName(std::string_view name) {
  return name.size() > kExtension.size() && name.size() <= kMaxShardNameBytes &&
         name.ends_with(kExtension) && name[0] != '.' && name.find('/') == std::string_view::npos &&
         name.find('\0') == std::string_view::npos;
}

}  // namespace

absl::StatusOr<std::vector<std::pair<std::string, std::string>>> ParseSafetensorsIndex(
    std::string_view text, const SafetensorsLimits& limits) {
  if (text.size() > limits.max_header_bytes) {
    return InvalidArgument("{} bytes, the limit is {}", text.size(), limits.max_header_bytes);
  }
  WEFT_ASSIGN_OR_RETURN(const json index,
                        ParseStrictJson(text, {.depth = 8, .values = limits.max_tensors + 1024}));
  const auto map = index.is_object() ? index.find("weight_map") : index.end();
  if (map == index.end() || !map->is_object()) {
    return InvalidArgument("field 'weight_map' is missing or not an object");
  }
  if (map->empty()) return InvalidArgument("field 'weight_map' is empty");
  if (map->size() > limits.max_tensors) {
    return InvalidArgument("field 'weight_map': {} tensors, the limit is {}", map->size(),
                           limits.max_tensors);
  }
  std::vector<std::pair<std::string, std::string>> out;
  out.reserve(map->size());
  for (const auto& [tensor, shard] : map->items()) {
    if (!shard.is_string()) {
      return InvalidArgument("weight_map: tensor '{}': expected a file name, found {}",
                             ShownName(tensor), shard.type_name());
    }
    const auto& name = shard.get_ref<const std::string&>();
    if (!IsPlainShardName(name)) {
      return InvalidArgument(
          "weight_map: tensor '{}': '{}' is not the plain name of a .safetensors file",
          ShownName(tensor), ShownName(name));
    }
    out.emplace_back(tensor, name);
  }
  return out;
}

absl::StatusOr<std::shared_ptr<const SafetensorsCheckpoint>> SafetensorsCheckpoint::Open(
    const std::string& folder, const SafetensorsLimits& limits) {
  std::shared_ptr<SafetensorsCheckpoint> checkpoint(new SafetensorsCheckpoint());
  WEFT_RETURN_IF_ERROR(checkpoint->OpenShards(folder, limits));
  return std::shared_ptr<const SafetensorsCheckpoint>(std::move(checkpoint));
}

absl::Status SafetensorsCheckpoint::OpenShards(const std::string& folder,
                                               const SafetensorsLimits& limits) {
  const std::filesystem::path root(folder);
  std::error_code ignored;
  if (!std::filesystem::exists(root / kIndexName, ignored)) {
    if (!std::filesystem::exists(root / kSingleName, ignored)) {
      return NotFound("folder '{}' has neither {} nor {}", folder, kSingleName, kIndexName);
    }
    WEFT_RETURN_IF_ERROR(AddShard(folder, kSingleName, limits));
    return IndexTensors();
  }
  const std::string index_path = (root / kIndexName).string();
  WEFT_ASSIGN_OR_RETURN(const MappedFile index_file,
                        MappedFile::Open(index_path, "safetensors index"));
  const auto index = ParseSafetensorsIndex(index_file.contents(), limits);
  if (!index.ok()) return Annotate(index.status(), "safetensors index '" + index_path + "'");

  std::set<std::string> names;
  for (const auto& [tensor, shard] : *index) names.insert(shard);
  if (names.size() > kMaxShards) {
    return InvalidArgument("safetensors index '{}': {} shards, the limit is {}", index_path,
                           names.size(), kMaxShards);
  }
  for (const std::string& name : names) WEFT_RETURN_IF_ERROR(AddShard(folder, name, limits));
  for (const auto& [tensor, shard] : *index) {
    const auto it = std::lower_bound(
        shards_.begin(), shards_.end(), shard,
        [](const Shard& have, const std::string& wanted) { return have.name < wanted; });
    if (it->file->Find(tensor) == nullptr) {
      return InvalidArgument("safetensors index '{}': tensor '{}' is not in shard '{}'", index_path,
                             ShownName(tensor), shard);
    }
  }
  return IndexTensors();
}

absl::Status SafetensorsCheckpoint::AddShard(const std::string& folder, const std::string& name,
                                             const SafetensorsLimits& limits) {
  WEFT_ASSIGN_OR_RETURN(
      auto file, SafetensorsFile::Open((std::filesystem::path(folder) / name).string(), limits));
  shards_.push_back({name, std::move(file)});
  return absl::OkStatus();
}

absl::Status SafetensorsCheckpoint::IndexTensors() {
  std::vector<std::pair<const Tensor*, const Shard*>> all;
  for (const Shard& shard : shards_) {
    for (const Tensor& tensor : shard.file->tensors()) all.emplace_back(&tensor, &shard);
  }
  std::stable_sort(all.begin(), all.end(),
                   [](const auto& a, const auto& b) { return a.first->name < b.first->name; });
  for (size_t i = 0; i < all.size(); ++i) {
    if (i > 0 && all[i].first->name == all[i - 1].first->name) {
      return InvalidArgument("tensor '{}' is in two shards, '{}' and '{}'",
                             ShownName(all[i].first->name), all[i - 1].second->name,
                             all[i].second->name);
    }
    tensors_.push_back(all[i].first);
  }
  return absl::OkStatus();
}

const Tensor* SafetensorsCheckpoint::Find(std::string_view name) const {
  const auto it = std::lower_bound(
      tensors_.begin(), tensors_.end(), name,
      [](const Tensor* tensor, std::string_view wanted) { return tensor->name < wanted; });
  return it == tensors_.end() || (*it)->name != name ? nullptr : *it;
}

}  // namespace weft
