#include "libs/tokenizer/stream_detokenizer.h"

namespace weft {

void TokenDecoder::Append(int32_t id, std::string& out) {
  if (skip_control_ && tokenizer_->IsControl(id)) return;
  std::string_view bytes = tokenizer_->TokenBytes(id);
  if (bytes.empty()) return;
  if (drops_space_) {
    const bool is_space = bytes[0] == ' ';
    if (is_space) bytes.remove_prefix(1);
    // Where extra spaces are removed, none is first in a text.
    drops_space_ = tokenizer_->removes_extra_spaces() && bytes.empty();
  }
  decoder_.Append(bytes, out);
}

}  // namespace weft
