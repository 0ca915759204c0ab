// Fill-in-the-middle prompts: code models are trained to write what belongs between a prefix and a
// suffix when both are marked with tokens of their own. Which tokens, and in what order:
//
//   CodeLlama        <PRE> prefix <SUF> suffix <MID>          (arXiv 2308.12950, prefix first)
//   StarCoder 1, 2   <fim_prefix> … <fim_suffix> … <fim_middle>
//   DeepSeek-Coder   <｜fim▁begin｜> … <｜fim▁hole｜> … <｜fim▁end｜>
//   Qwen2.5-Coder    <|fim_prefix|> … , other files as <|repo_name|>, <|file_sep|>
//                    (arXiv 2409.12186)
//   Codestral        [SUFFIX] suffix [PREFIX] prefix
#pragma once

#include <absl/status/statusor.h>

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace weft {

class GgufFile;
class Tokenizer;

// The tokens of one model; -1 where it has none.
struct FimFormat {
  int32_t prefix = -1;
  int32_t suffix = -1;
  int32_t middle = -1;          // none: the answer follows the prefix
  int32_t pad = -1;             // also ends an answer
  int32_t repository = -1;      // comes before the repository's name
  int32_t file_separator = -1;  // comes before each file's name
  bool suffix_first = false;
  std::string after_repository;  // text between the repository's name and the first file
  std::string file_header;       // before a file's name where there is no file_separator

  bool ok() const { return prefix >= 0 && suffix >= 0; }
  bool has_files() const { return repository >= 0 && file_separator >= 0; }
  // Tokens that end an answer besides the model's end tokens: it begins another file or part.
  std::vector<int32_t> StopIds() const;

  // From tokenizer.ggml.fim_*_token_id, from the older prefix_token_id and its like, or else from
  // how the vocabulary spells them. Ids outside the vocabulary count as absent. !ok() when the
  // model cannot do it.
  static FimFormat Find(const GgufFile& metadata, const Tokenizer& tokenizer);
};

struct FimFile {
  std::string_view name;
  std::string_view text;
};

struct FimInput {
  std::string_view prefix;
  std::string_view suffix;
  std::string_view middle;     // the beginning of the answer
  std::vector<FimFile> extra;  // other files; those that matter most last
  std::string_view filename;   // of the file that is edited; empty = unknown
  std::string_view repository;
};

// How many tokens each part has, markers and headers apart from prefix, suffix and middle.
struct FimLengths {
  size_t prefix = 0;
  size_t suffix = 0;
  size_t fixed = 0;           // what stays whatever happens: markers, middle, headers
  std::vector<size_t> extra;  // with their headers
};

struct FimShare {
  size_t prefix = 0;       // tokens kept, at its end
  size_t suffix = 0;       // tokens kept, at its beginning
  size_t first_extra = 0;  // files before this one are left out
  bool truncated = false;
  bool fits = true;  // false: not even the fixed part does
};

// Splits `budget` tokens: the edited file first, three quarters of what there is for the prefix and
// one for the suffix (what one does not need is the other's), then whole files from the last on.
// Pure.
FimShare ShareFimBudget(const FimLengths& lengths, size_t budget);

struct FimPrompt {
  std::vector<int32_t> ids;
  bool truncated = false;  // something was left out
};

// Ids of the whole prompt, begin-of-sequence included where the model asks for it, at most
// `budget`. Text is never read as control tokens. INVALID_ARGUMENT when `budget` does not hold the
// markers and `middle`.
absl::StatusOr<FimPrompt> BuildFimPrompt(const Tokenizer& tokenizer, const FimFormat& format,
                                         const FimInput& input, size_t budget);

}  // namespace weft
