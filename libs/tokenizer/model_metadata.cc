#include "libs/tokenizer/model_metadata.h"

#include <filesystem>

#include "libs/base/status.h"
#include "libs/tokenizer/huggingface.h"

namespace weft {

absl::StatusOr<std::shared_ptr<const GgufFile>> OpenModelMetadata(const std::string& path) {
  std::error_code not_there;  // the file's own error says more
  if (!std::filesystem::is_directory(path, not_there)) return GgufFile::Open(path);
  WEFT_ASSIGN_OR_RETURN(std::string bytes, GgufMetadataFromHuggingFace(path));
  return GgufFile::FromBytes(std::move(bytes));
}

std::string DefaultModelName(const GgufFile& metadata, const std::string& path) {
  if (const auto name = metadata.GetString("general.name"); name.ok() && !name->empty()) {
    return std::string(*name);
  }
  std::error_code not_there;
  const std::filesystem::path place(path);
  if (!std::filesystem::is_directory(place, not_there)) return place.stem().string();
  // "models/Qwen2.5-Coder-1.5B/" has no last part, and its dots are no ending.
  const std::filesystem::path folder =
      std::filesystem::absolute(place, not_there).lexically_normal();
  return folder.has_filename() ? folder.filename().string()
                               : folder.parent_path().filename().string();
}

}  // namespace weft
