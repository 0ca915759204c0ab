// Models split over several files, as llama.cpp's gguf-split writes them:
// "name-00001-of-0000N.gguf", each a whole GGUF file with split.no, split.count and
// split.tensors.count; all other metadata is in the first.
#include <fmt/format.h>

#include <algorithm>

#include "libs/base/status.h"
#include "libs/gguf/gguf.h"

namespace weft {
namespace {

struct SplitKeys {
  uint64_t number = 0;
  uint64_t count = 1;
  uint64_t tensors = 0;  // of all parts
};

// A file that says nothing of parts is the first of one.
absl::StatusOr<SplitKeys> ReadSplitKeys(const GgufFile& file, const GgufLimits& limits) {
  SplitKeys keys;
  if (!file.Has("split.count")) return keys;
  WEFT_ASSIGN_OR_RETURN(keys.count, file.GetUint("split.count"));
  if (keys.count <= 1) return SplitKeys{};  // llama.cpp writes 0 and 1 for "not split"
  if (keys.count > limits.max_parts) {
    return InvalidArgument("metadata 'split.count' is {}: at most {} parts are supported",
                           keys.count, limits.max_parts);
  }
  WEFT_ASSIGN_OR_RETURN(keys.number, file.GetUint("split.no"));
  if (keys.number >= keys.count) {
    return InvalidArgument("metadata 'split.no' is {}, but there are {} parts, from 0", keys.number,
                           keys.count);
  }
  WEFT_ASSIGN_OR_RETURN(keys.tensors, file.GetUint("split.tensors.count"));
  return keys;
}

std::string Suffix(uint64_t number, uint64_t count) {
  return fmt::format("-{:05}-of-{:05}.gguf", number + 1, count);
}

// The path of another part of the model that part `number` at `path` belongs to.
absl::StatusOr<std::string> Sibling(const std::string& path, uint64_t number, uint64_t wanted,
                                    uint64_t count) {
  const std::string own = Suffix(number, count);
  if (!path.ends_with(own)) {
    return InvalidArgument(
        "model file '{}' is part {} of {}, so that its name must end with '{}' for the other parts "
        "to be found",
        path, number + 1, count, own);
  }
  return path.substr(0, path.size() - own.size()) + Suffix(wanted, count);
}

}  // namespace

absl::StatusOr<std::shared_ptr<const GgufFile>> GgufFile::Join(
    const Part& first, uint64_t count, const GgufLimits& limits,
    const std::function<absl::StatusOr<Part>(uint64_t)>& part) {
  WEFT_ASSIGN_OR_RETURN(const SplitKeys keys, ReadSplitKeys(*first, limits));
  std::shared_ptr<GgufFile> joined(new GgufFile());
  joined->version_ = first->version_;
  joined->alignment_ = first->alignment_;
  joined->entries_ = first->entries_;
  joined->entries_by_key_ = first->entries_by_key_;
  for (uint64_t i = 0; i < count; ++i) {
    Part next = first;
    if (i > 0) {
      WEFT_ASSIGN_OR_RETURN(next, part(i));
    }
    WEFT_ASSIGN_OR_RETURN(const SplitKeys own, ReadSplitKeys(*next, limits));
    if (own.number != i || own.count != count) {
      return InvalidArgument("part {} of {}: it says that it is part {} of {}", i + 1, count,
                             own.number + 1, own.count);
    }
    joined->tensors_.insert(joined->tensors_.end(), next->tensors_.begin(), next->tensors_.end());
    if (joined->tensors_.size() > limits.max_tensors) {
      return InvalidArgument("the first {} of {} parts have {} tensors, the limit is {}", i + 1,
                             count, joined->tensors_.size(), limits.max_tensors);
    }
    joined->parts_.push_back(std::move(next));
  }
  if (joined->tensors_.size() != keys.tensors) {
    return InvalidArgument(
        "metadata 'split.tensors.count' is {}, but the {} parts have {} tensors: is one of another "
        "model?",
        keys.tensors, count, joined->tensors_.size());
  }
  WEFT_RETURN_IF_ERROR(joined->IndexTensors());
  return std::shared_ptr<const GgufFile>(std::move(joined));
}

absl::StatusOr<std::shared_ptr<const GgufFile>> GgufFile::Open(const std::string& path,
                                                               const GgufLimits& limits) {
  WEFT_ASSIGN_OR_RETURN(Part first, OpenOne(path, limits));
  absl::StatusOr<SplitKeys> keys = ReadSplitKeys(*first, limits);
  if (!keys.ok()) return Annotate(keys.status(), "model file '" + path + "'");
  if (keys->count == 1) return first;
  WEFT_ASSIGN_OR_RETURN(const std::string beginning, Sibling(path, keys->number, 0, keys->count));
  if (keys->number != 0) {
    return InvalidArgument("model file '{}' is part {} of {}: open the first, '{}'", path,
                           keys->number + 1, keys->count, beginning);
  }
  const auto part = [&](uint64_t i) -> absl::StatusOr<Part> {
    WEFT_ASSIGN_OR_RETURN(const std::string other, Sibling(path, 0, i, keys->count));
    absl::StatusOr<Part> opened = OpenOne(other, limits);
    if (!opened.ok()) {
      return Annotate(opened.status(), fmt::format("part {} of {}", i + 1, keys->count));
    }
    return opened;
  };
  absl::StatusOr<Part> joined = Join(first, keys->count, limits, part);
  if (!joined.ok()) return Annotate(joined.status(), "split model '" + path + "'");
  return joined;
}

absl::StatusOr<std::shared_ptr<const GgufFile>> GgufFile::FromParts(std::vector<std::string> parts,
                                                                    const GgufLimits& limits) {
  if (parts.empty()) return InvalidArgument("a split model of no parts");
  WEFT_ASSIGN_OR_RETURN(Part first, ParseOne(std::move(parts[0]), limits));
  return Join(first, parts.size(), limits, [&](uint64_t i) -> absl::StatusOr<Part> {
    absl::StatusOr<Part> parsed = ParseOne(std::move(parts[i]), limits);
    if (!parsed.ok()) {
      return Annotate(parsed.status(), fmt::format("part {} of {}", i + 1, parts.size()));
    }
    return parsed;
  });
}

std::vector<std::string_view> GgufFile::contents() const {
  if (parts_.empty()) return {contents_};
  std::vector<std::string_view> all;
  for (const Part& part : parts_) all.push_back(part->contents_);
  return all;
}

uint64_t GgufFile::file_bytes() const {
  uint64_t bytes = 0;
  for (const std::string_view contents : contents()) bytes += contents.size();
  return bytes;
}

}  // namespace weft
