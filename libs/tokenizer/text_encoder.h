// One kind of tokenizer at work on a part of a text that holds no added tokens.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

namespace weft {

// Where a part of a text stands.
struct TextPart {
  bool is_first = true;          // the text begins with it
  bool is_last = true;           // the text ends with it
  bool follows_control = false;  // a control token stands before it
  int32_t user_token = -1;       // the user-defined token that stands after it
  bool continues = false;        // a text before it: no space is put between them
  // Of all the tokens since the last control token, this part's and its user token's added by
  // Encode. Only a unigram's encoder has one.
  float* score_sum = nullptr;
};

class TextEncoder {
 public:
  virtual ~TextEncoder() = default;
  // Appends the tokens of `text`. Thread safe. Any bytes are accepted.
  virtual void Encode(std::string_view text, const TextPart& part,
                      std::vector<int32_t>& out) const = 0;
};

}  // namespace weft
