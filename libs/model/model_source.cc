#include "libs/model/model_source.h"

#include <filesystem>

#include "libs/base/mapped_file.h"
#include "libs/base/status.h"
#include "libs/gguf/gguf.h"
#include "libs/model/gguf_source.h"
#include "libs/model/hf_config.h"
#include "libs/model/hf_tensors.h"

namespace weft {

absl::StatusOr<ModelSource> ModelSource::Open(const std::string& path, bool keep_fp8) {
  std::error_code not_there;  // the file's own error says more
  if (std::filesystem::is_directory(path, not_there)) {
    absl::StatusOr<ModelSource> source = FromHuggingFace(path, keep_fp8);
    if (!source.ok()) return Annotate(source.status(), path);
    source->path = path;
    return source;
  }
  WEFT_ASSIGN_OR_RETURN(std::shared_ptr<const GgufFile> file, GgufFile::Open(path));
  absl::StatusOr<ModelSource> source = FromGguf(std::move(file), /*mapped=*/true);
  if (!source.ok()) return Annotate(source.status(), path);
  source->path = path;
  return source;
}

absl::StatusOr<ModelSource> ModelSource::FromGguf(std::shared_ptr<const GgufFile> file,
                                                  bool mapped) {
  ModelSource source;
  WEFT_ASSIGN_OR_RETURN(source.config, ModelConfig::FromGguf(*file));
  source.tensors = std::make_shared<GgufSource>(std::move(file), mapped);
  return source;
}

absl::StatusOr<ModelSource> ModelSource::FromHuggingFace(const std::string& folder, bool keep_fp8) {
  const std::filesystem::path root(folder);
  WEFT_ASSIGN_OR_RETURN(const MappedFile config_file,
                        MappedFile::Open((root / "config.json").string(), "model configuration"));
  const std::string generation_path = (root / "generation_config.json").string();
  MappedFile generation_file;
  std::error_code ignored;
  if (std::filesystem::exists(generation_path, ignored)) {
    WEFT_ASSIGN_OR_RETURN(generation_file,
                          MappedFile::Open(generation_path, "generation configuration"));
  }
  WEFT_ASSIGN_OR_RETURN(HfConfig config,
                        ParseHfConfig(config_file.contents(), generation_file.contents()));
  config.keep_fp8 = keep_fp8;
  WEFT_ASSIGN_OR_RETURN(auto checkpoint, SafetensorsCheckpoint::Open(folder));
  ModelSource source;
  WEFT_ASSIGN_OR_RETURN(
      source.tensors,
      HfTensorSource::Create(std::move(checkpoint), config, std::string(config_file.contents())));
  source.config = std::move(config.model);
  return source;
}

}  // namespace weft
