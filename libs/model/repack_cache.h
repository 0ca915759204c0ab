// Repacked weights kept on disk: a second start of the same model maps them instead of making them.
//
// A file's name is a SHA-256 over what the weights were made of (path aside: sizes, modification
// times and beginnings of the model's files) and how (the revision of the layouts). A file that is
// damaged, stale or of another revision is not used, and made again. Writers write beside the file
// and rename; several processes may share a folder.
#pragma once

#include <absl/status/status.h>
#include <absl/status/statusor.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "libs/base/mapped_file.h"
#include "libs/model/repack_file.h"

namespace weft {

struct RepackCacheOptions {
  std::string folder;                       // empty: nothing is kept
  uint64_t max_bytes = uint64_t{64} << 30;  // of the folder; the files used longest ago go first
};

// One model's place in the cache, during one load. One thread at a time.
class RepackCache {
 public:
  // Looks for the weights of the model at `model_path` (a file, the first of a split one, or a
  // folder). Never fails: without a usable file every Take() says no.
  RepackCache(const RepackCacheOptions& options, const std::string& model_path);

  // The next matrix of the load, in the order in which Record() got them when the file was made:
  // true, and `weight` is `raw` with its packed form, when it is there.
  bool Take(const std::string& name, const Weight& raw, Weight& weight);
  // Every matrix of the load, taken or made.
  void Record(const std::string& name, const Weight& weight);

  // Every matrix came from the file.
  bool complete() const { return mapped_ != nullptr && taken_ == index_.entries.size(); }
  // Of the weights; empty when nothing was found.
  const std::string& weights_sha256() const { return index_.weights_sha256; }
  // Why a file that was there was not used; OK when it was, or when there was none.
  const absl::Status& found() const { return found_; }

  // Writes what was recorded, and removes other files until the folder keeps to its bound.
  // RESOURCE_EXHAUSTED (the bound, a full disk) and other errors leave no file behind.
  absl::Status Store(const std::string& weights_sha256) const;

  // Of the file in the folder, there or not. The model must have a name.
  std::string path() const;

 private:
  absl::Status Find();
  absl::Status MakeRoom(uint64_t bytes) const;

  const RepackCacheOptions options_;
  std::optional<RepackKey> key_;  // nothing: the model cannot be named
  absl::Status found_;
  std::shared_ptr<const MappedFile> mapped_;  // null: nothing usable
  RepackIndex index_;
  size_t next_ = 0;
  size_t taken_ = 0;
  std::vector<std::pair<std::string, Weight>> recorded_;
};

// What names the model's files without reading them whole. Errors name the path.
absl::StatusOr<RepackKey> RepackKeyOf(const std::string& model_path);

}  // namespace weft
