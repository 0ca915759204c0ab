#include "libs/tokenizer/stream_detokenizer.h"

namespace weft {

std::string StreamDetokenizer::Append(int32_t id) {
  std::string out;
  if (!skip_control_ || !tokenizer_->IsControl(id))
    decoder_.Append(tokenizer_->TokenBytes(id), out);
  return out;
}

std::string StreamDetokenizer::Flush() {
  std::string out;
  decoder_.Flush(out);
  return out;
}

}  // namespace weft
