#include "libs/model/model_source.h"

#include "libs/base/status.h"
#include "libs/gguf/gguf.h"
#include "libs/model/gguf_source.h"

namespace weft {

absl::StatusOr<ModelSource> ModelSource::Open(const std::string& path) {
  WEFT_ASSIGN_OR_RETURN(std::shared_ptr<const GgufFile> file, GgufFile::Open(path));
  absl::StatusOr<ModelSource> source = FromGguf(std::move(file), /*mapped=*/true);
  if (!source.ok()) return Annotate(source.status(), path);
  return source;
}

absl::StatusOr<ModelSource> ModelSource::FromGguf(std::shared_ptr<const GgufFile> file,
                                                  bool mapped) {
  ModelSource source;
  WEFT_ASSIGN_OR_RETURN(source.config, ModelConfig::FromGguf(*file));
  source.tensors = std::make_shared<GgufSource>(std::move(file), mapped);
  return source;
}

}  // namespace weft
