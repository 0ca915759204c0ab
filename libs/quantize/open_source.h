// What is quantised: a GGUF file, or a Hugging Face folder turned into one.
#pragma once

#include <absl/status/statusor.h>

#include <memory>
#include <string>
#include <vector>

#include "libs/gguf/gguf.h"
#include "libs/model/tensor_source.h"

namespace weft {

struct QuantizeInput {
  std::shared_ptr<const TensorSource> tensors;
  std::shared_ptr<const GgufFile> metadata;
  std::vector<std::string> notes;  // what the user should know of it, a sentence each
};

// Of a folder: its configuration, tokenizer and chat template as metadata and its tensors as
// llama.cpp's files have them. Tokens are added where the embedding has rows for more than the
// tokenizer knows. UNIMPLEMENTED when GGUF cannot say what the configuration asks for: the file
// would compute something else. Errors name the path.
absl::StatusOr<QuantizeInput> OpenForQuantizing(const std::string& path);

}  // namespace weft
