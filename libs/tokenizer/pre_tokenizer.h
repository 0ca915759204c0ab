// Splits text into the pieces that BPE works on: the regular expressions that each model family
// publishes, written out as state machines over Unicode classes. No piece crosses another's edge,
// and the pieces joined are the text.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace weft {

enum class PreTokenizer : uint8_t {
  kGpt2,
  kStarcoder,  // each digit alone, then GPT-2's expression: SmolLM, StarCoder, Refact, Granite code
  kGgufDefault,  // what a GGUF means by "default" or by saying nothing
  kLlama3,
  kQwen2,
  kQwen35,
  kSeedCoder,
  kDeepseekCoder,
  kDeepseekLlm,
  kDeepseekV3,
  kFalcon,
  kGpt4o,
  kTekken,
};

// What a value of tokenizer.ggml.pre stands for.
struct PreTokenizerSpec {
  PreTokenizer split;
  bool nfc = false;                 // text is normalized to form C first
  bool whole_pieces_first = false;  // a piece that is a token as a whole is that token
  bool adds_bos = false;            // where the file does not say
};

// Nothing when the name is not supported.
std::optional<PreTokenizerSpec> PreTokenizerByName(std::string_view name);
// "default, gpt-2, ...": for messages.
std::string SupportedPreTokenizers();

// Replaces `ends` by the end of each piece, ascending, the last one text.size().
void SplitPieces(PreTokenizer kind, std::string_view text, std::vector<size_t>& ends);

}  // namespace weft
