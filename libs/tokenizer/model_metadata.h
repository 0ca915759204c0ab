// What a model is called and how it is tokenised, wherever it lies: in a GGUF file, or in a Hugging
// Face folder whose tokenizer is turned into the same metadata.
#pragma once

#include <absl/status/statusor.h>

#include <memory>
#include <string>

#include "libs/gguf/gguf.h"

namespace weft {

// The file itself, or the metadata of a folder's tokenizer (without tensors). Errors name the path.
absl::StatusOr<std::shared_ptr<const GgufFile>> OpenModelMetadata(const std::string& path);

// The name under which clients ask for a model that has been given none: general.name, else the
// name of the file without its ending, or of the folder.
std::string DefaultModelName(const GgufFile& metadata, const std::string& path);

}  // namespace weft
