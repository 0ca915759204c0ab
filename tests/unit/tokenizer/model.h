// The default model's tokenizer, for tests.
#pragma once

#include <cstdlib>
#include <memory>
#include <string>

#include "libs/gguf/gguf.h"
#include "libs/tokenizer/tokenizer.h"

namespace weft {

// ./weft test guarantees that the file is there.
inline std::string ModelPath() {
  if (const char* model = std::getenv("WEFT_MODEL")) return model;
  const char* home = std::getenv("WEFT_HOME");
  return std::string(home != nullptr ? home : ".weft") + "/models/SmolLM2-135M-Instruct.Q4_1.gguf";
}

inline std::shared_ptr<const Tokenizer> LoadModelTokenizer() {
  return Tokenizer::FromGguf(*GgufFile::Open(ModelPath()).value()).value();
}

}  // namespace weft
