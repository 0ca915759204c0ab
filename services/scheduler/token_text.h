// Token ids to text, as the scheduler needs it. The real one wraps libs/tokenizer
// (tokenizer_store.h); tests bring their own.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

namespace weft::scheduler {

// Of one sequence. Not thread safe.
class Detokenizer {
 public:
  virtual ~Detokenizer() = default;
  // The text that this token completes: whole UTF-8 characters only, possibly none.
  virtual std::string Append(uint32_t id) = 0;
  // What is left of an incomplete character, as U+FFFD.
  virtual std::string Flush() = 0;
};

// Of one model's tokenizer. Immutable, thread safe.
class TokenText {
 public:
  virtual ~TokenText() = default;
  virtual std::unique_ptr<Detokenizer> NewDetokenizer() const = 0;
  // The token's own bytes, for logprobs.
  virtual std::string_view Bytes(uint32_t id) const = 0;
};

}  // namespace weft::scheduler
