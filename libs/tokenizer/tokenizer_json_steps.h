// The steps around the model in tokenizer.json: what happens to text before it is split and how it
// is split, recognised by their structure. Internal to the reader of tokenizer.json.
#pragma once

#include <absl/status/statusor.h>

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>
#include <vector>

namespace weft::tokenizer_json {

struct Steps {
  std::vector<std::string> normalizer;  // as TokenizerMetadata has it
  std::string charsmap;                 // of the step "precompiled"
  bool byte_level = false;
  std::string pre;  // of byte_level: a name of PreTokenizerByName
  // In SentencePiece's manner:
  bool escapes_spaces = false;    // a space becomes U+2581
  std::string space_prefix;       // as TokenizerMetadata has it; empty: none
  bool splits_on_spaces = false;  // each U+2581 begins a piece
};

// The tokens that post_processor puts around a text.
struct Template {
  bool is_there = false;
  std::string before;  // empty: none
  std::string after;
};

// Errors name the JSON path: "pre_tokenizer.pretokenizers[1].pattern".
absl::StatusOr<Steps> ReadSteps(const nlohmann::json& root);
absl::StatusOr<Template> ReadTemplate(const nlohmann::json& root);

// The member, or null when it is absent or null.
const nlohmann::json* Field(const nlohmann::json& object, const char* name);
// Leave `out` as it is when the member is absent or null.
absl::Status ReadText(const nlohmann::json& object, std::string_view path, const char* name,
                      std::string& out);
absl::Status ReadFlag(const nlohmann::json& object, std::string_view path, const char* name,
                      bool& out);

}  // namespace weft::tokenizer_json
