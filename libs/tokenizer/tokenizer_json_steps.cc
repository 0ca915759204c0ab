#include "libs/tokenizer/tokenizer_json_steps.h"

#include <absl/strings/escaping.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "libs/base/status.h"

namespace weft::tokenizer_json {
namespace {

using nlohmann::json;

constexpr std::string_view kSpace = "\xE2\x96\x81";  // U+2581

// The expressions of the families, as their files write them, with \r and \n spelled out.
constexpr char kGpt2[] =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";
constexpr char kGpt2Short[] =
    R"('(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";
constexpr char kLlama3[] =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr char kQwen2[] =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr char kQwen35[] =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr char kSeedCoder[] =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1}| ?[^\s\p{L}\p{N}\r\n]+|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr char kGpt4o[] =
    R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr char kTekken[] =
    R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr char kDeepseekV3[] =
    R"([!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr char kDeepseekLetters[] =
    R"(\s?[A-Za-zµÀ-ÖØ-öø-ƺƼ-ƿǄ-ʓʕ-ʯͰ-ͳͶͷͻ-ͽͿΆΈ-ΊΌΎ-ΡΣ-ϵϷ-ҁҊ-ԯԱ-Ֆ)";  // how the long class begins
constexpr char kDeepseekPunctuation[] = R"(\s?[!-/:-~！-／：-～‘-‟　-。]+)";
constexpr char kCjk[] = "[一-龥ࠀ-一가-퟿]+";

struct Family {
  std::string_view pre;
  std::vector<std::string> steps;
};

const std::vector<Family>& Families() {
  static const auto* families = new std::vector<Family>{
      {"gpt-2", {"ByteLevel with its expression"}},
      {"gpt-2", {std::string("Split ") + kGpt2, "ByteLevel"}},
      {"gpt-2", {std::string("Split ") + kGpt2Short, "ByteLevel"}},
      {"starcoder", {"each Digit", "ByteLevel with its expression"}},
      {"smaug-bpe", {std::string("Split ") + kLlama3, "ByteLevel"}},
      {"stablelm2", {std::string("Split ") + kQwen2, "ByteLevel"}},
      {"qwen35", {std::string("Split ") + kQwen35, "ByteLevel"}},
      {"seed-coder", {std::string("Split ") + kSeedCoder, "ByteLevel"}},
      {"gpt-4o", {std::string("Split ") + kGpt4o, "ByteLevel"}},
      {"tekken", {std::string("Split ") + kTekken, "ByteLevel"}},
      {"deepseek-coder",
       {R"(Split [\r\n])", R"(Split \s?\p{L}+)", R"(Split \s?\p{P}+)", std::string("Split ") + kCjk,
        "each Digit", "ByteLevel"}},
      {"deepseek-llm",
       {R"(Split [\r\n])", std::string("Split ") + kDeepseekLetters,
        std::string("Split ") + kDeepseekPunctuation, R"(Split \s+$)", std::string("Split ") + kCjk,
        "each Digit", "ByteLevel"}},
      {"deepseek-v3",
       {R"(Split \p{N}{1,3})", "Split [一-龥぀-ゟ゠-ヿ]+",
        std::string("Split ") + kDeepseekV3, "ByteLevel"}},
      {"falcon",
       {"Punctuation Contiguous", "ByteLevel with its expression", "Digits",
        "Split [0-9][0-9][0-9]"}},
  };
  return *families;
}

std::string TypeOf(const json& step) {
  std::string type;
  const json* field = step.is_object() ? Field(step, "type") : nullptr;
  if (field != nullptr && field->is_string()) type = field->get<std::string>();
  return type;
}

// Calls `visit` for each step below `step`, sequences opened; null is no step.
template <typename Visit>
absl::Status VisitSteps(const json& step, const std::string& path, const char* members,
                        Visit visit) {
  if (step.is_null()) return absl::OkStatus();
  const std::string type = TypeOf(step);
  if (type.empty()) return InvalidArgument("{}.type must be a string", path);
  if (type != "Sequence") return visit(step, type, path);
  const json* inner = Field(step, members);
  if (inner == nullptr || !inner->is_array()) {
    return InvalidArgument("{}.{} must be an array", path, members);
  }
  for (size_t i = 0; i < inner->size(); ++i) {
    WEFT_RETURN_IF_ERROR(
        VisitSteps((*inner)[i], fmt::format("{}.{}[{}]", path, members, i), members, visit));
  }
  return absl::OkStatus();
}

// {"String": s} or {"Regex": s}.
absl::Status ReadPattern(const json& step, const std::string& path, std::string& text,
                         bool& is_regex) {
  const json* pattern = Field(step, "pattern");
  if (pattern != nullptr && pattern->is_object() && pattern->size() == 1) {
    const auto member = pattern->begin();
    if (member->is_string() && (member.key() == "String" || member.key() == "Regex")) {
      text = member->get<std::string>();
      is_regex = member.key() == "Regex";
      return absl::OkStatus();
    }
  }
  return InvalidArgument("{}.pattern must be an object with one member, String or Regex", path);
}

class StepReader {
 public:
  absl::Status Normalizer(const json& step, const std::string& type, const std::string& path) {
    if (out_.escapes_spaces && type != "Prepend") {
      return Unimplemented("{}: {} after the step that replaces spaces is not supported", path,
                           type);
    }
    if (type == "NFC" || type == "NFD" || type == "NFKC" || type == "NFKD" || type == "Lowercase") {
      std::string name = type;
      std::transform(name.begin(), name.end(), name.begin(),
                     [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; });
      out_.normalizer.push_back(name);
      return absl::OkStatus();
    }
    if (type == "Strip") {
      bool left = true;
      bool right = true;
      WEFT_RETURN_IF_ERROR(ReadFlag(step, path, "strip_left", left));
      WEFT_RETURN_IF_ERROR(ReadFlag(step, path, "strip_right", right));
      if (left) out_.normalizer.push_back("strip_left");
      if (right) out_.normalizer.push_back("strip_right");
      return absl::OkStatus();
    }
    if (type == "Prepend") {
      std::string text;
      WEFT_RETURN_IF_ERROR(ReadText(step, path, "prepend", text));
      if (text == kSpace) {
        out_.space_prefix = "each";
      } else if (out_.escapes_spaces) {
        return Unimplemented("{}: Prepend after the step that replaces spaces is not supported",
                             path);
      } else {
        out_.normalizer.push_back("prepend\x1f" + text);
      }
      return absl::OkStatus();
    }
    if (type == "Replace") {
      std::string from;
      std::string to;
      bool is_regex = false;
      WEFT_RETURN_IF_ERROR(ReadPattern(step, path, from, is_regex));
      WEFT_RETURN_IF_ERROR(ReadText(step, path, "content", to));
      if (is_regex && from == " {2,}" && (to == " " || to == kSpace)) {
        out_.normalizer.push_back("replace_runs\x1f \x1f" + to);
        return absl::OkStatus();
      }
      if (is_regex || from.empty()) {
        return Unimplemented("{}.pattern '{}' is not supported", path, from);
      }
      if (from == " " && to == kSpace) {
        out_.escapes_spaces = true;
      } else {
        out_.normalizer.push_back("replace\x1f" + from + "\x1f" + to);
      }
      return absl::OkStatus();
    }
    if (type == "Precompiled") {
      std::string base64;
      WEFT_RETURN_IF_ERROR(ReadText(step, path, "precompiled_charsmap", base64));
      if (!absl::Base64Unescape(base64, &out_.charsmap)) {
        return InvalidArgument("{}.precompiled_charsmap is not base64", path);
      }
      if (!out_.charsmap.empty()) out_.normalizer.push_back("precompiled");
      return absl::OkStatus();
    }
    return Unimplemented("{}.type '{}' is not supported", path, type);
  }

  absl::Status PreTokenizer(const json& step, const std::string& type, const std::string& path) {
    if (type == "ByteLevel") return ByteLevel(step, path);
    if (type == "Metaspace") return Metaspace(step, path);
    if (type == "Split") return Split(step, path);
    if (type == "Digits") {
      bool each = false;
      WEFT_RETURN_IF_ERROR(ReadFlag(step, path, "individual_digits", each));
      steps_.push_back(each ? "each Digit" : "Digits");
      return absl::OkStatus();
    }
    if (type == "Punctuation") {
      std::string behavior = "Isolated";
      WEFT_RETURN_IF_ERROR(ReadText(step, path, "behavior", behavior));
      steps_.push_back("Punctuation " + behavior);
      return absl::OkStatus();
    }
    return Unimplemented("{}.type '{}' is not supported", path, type);
  }

  absl::StatusOr<Steps> Finish() {
    if (!out_.byte_level) {
      if (!steps_.empty()) {
        return Unimplemented("pre_tokenizer: {} without ByteLevel is not supported", steps_[0]);
      }
      return std::move(out_);
    }
    if (out_.escapes_spaces || !out_.space_prefix.empty()) {
      return Unimplemented("pre_tokenizer: ByteLevel after spaces are replaced is not supported");
    }
    for (const Family& family : Families()) {
      if (steps_ == family.steps) {
        out_.pre = family.pre;
        return std::move(out_);
      }
    }
    std::string all;
    for (const std::string& step : steps_) all += (all.empty() ? "" : ", ") + step;
    return Unimplemented("pre_tokenizer: no known model family splits by {}", all);
  }

 private:
  absl::Status ByteLevel(const json& step, const std::string& path) {
    bool prefix = true;
    bool expression = true;
    WEFT_RETURN_IF_ERROR(ReadFlag(step, path, "add_prefix_space", prefix));
    WEFT_RETURN_IF_ERROR(ReadFlag(step, path, "use_regex", expression));
    if (prefix) return Unimplemented("{}.add_prefix_space is not supported", path);
    out_.byte_level = true;
    steps_.push_back(expression ? "ByteLevel with its expression" : "ByteLevel");
    return absl::OkStatus();
  }

  absl::Status Metaspace(const json& step, const std::string& path) {
    std::string replacement{kSpace};
    WEFT_RETURN_IF_ERROR(ReadText(step, path, "replacement", replacement));
    if (replacement != kSpace) {
      return Unimplemented("{}.replacement '{}' is not supported", path, replacement);
    }
    bool prefix = true;
    bool split = true;
    WEFT_RETURN_IF_ERROR(ReadFlag(step, path, "add_prefix_space", prefix));
    WEFT_RETURN_IF_ERROR(ReadFlag(step, path, "split", split));
    std::string scheme = prefix ? "always" : "never";
    WEFT_RETURN_IF_ERROR(ReadText(step, path, "prepend_scheme", scheme));
    if (scheme != "always" && scheme != "first" && scheme != "never") {
      return InvalidArgument("{}.prepend_scheme '{}' is unknown", path, scheme);
    }
    if (!steps_.empty() || (!out_.space_prefix.empty() && scheme != "never")) {
      return Unimplemented("{}: Metaspace after another step is not supported", path);
    }
    if (scheme == "always") out_.space_prefix = "each_if_missing";
    if (scheme == "first") out_.space_prefix = "first_if_missing";
    out_.escapes_spaces = true;
    out_.splits_on_spaces = split;
    return absl::OkStatus();
  }

  absl::Status Split(const json& step, const std::string& path) {
    std::string pattern;
    std::string behavior = "Isolated";
    bool is_regex = false;
    bool invert = false;
    WEFT_RETURN_IF_ERROR(ReadPattern(step, path, pattern, is_regex));
    WEFT_RETURN_IF_ERROR(ReadText(step, path, "behavior", behavior));
    WEFT_RETURN_IF_ERROR(ReadFlag(step, path, "invert", invert));
    // Every space has become U+2581: nothing is left to split at.
    if (out_.escapes_spaces && pattern == " ") return absl::OkStatus();
    const bool isolates = (behavior == "Isolated" && !invert) ||
                          // The expressions of GPT match every character: nothing is removed.
                          (behavior == "Removed" && invert && pattern.ends_with(R"(|\s+)"));
    if (!isolates || !is_regex) {
      return Unimplemented("{}: the pattern '{}' with behavior {} is not supported", path, pattern,
                           behavior);
    }
    std::string spelled;
    for (const char c : pattern) {
      if (c == '\r' || c == '\n') {
        spelled += c == '\r' ? "\\r" : "\\n";
      } else {
        spelled += c;
      }
    }
    if (spelled.starts_with(kDeepseekLetters) && spelled.ends_with("]+")) {
      spelled = kDeepseekLetters;
    }
    steps_.push_back("Split " + spelled);
    return absl::OkStatus();
  }

  Steps out_;
  std::vector<std::string> steps_;
};

}  // namespace

const json* Field(const json& object, const char* name) {
  if (!object.is_object()) return nullptr;
  const auto it = object.find(name);
  return it == object.end() || it->is_null() ? nullptr : &*it;
}

absl::Status ReadText(const json& object, std::string_view path, const char* name,
                      std::string& out) {
  const json* field = Field(object, name);
  if (field == nullptr) return absl::OkStatus();
  if (!field->is_string()) return InvalidArgument("{}.{} must be a string", path, name);
  out = field->get<std::string>();
  return absl::OkStatus();
}

absl::Status ReadFlag(const json& object, std::string_view path, const char* name, bool& out) {
  const json* field = Field(object, name);
  if (field == nullptr) return absl::OkStatus();
  if (!field->is_boolean()) return InvalidArgument("{}.{} must be true or false", path, name);
  out = field->get<bool>();
  return absl::OkStatus();
}

absl::StatusOr<Steps> ReadSteps(const json& root) {
  StepReader reader;
  if (const json* step = Field(root, "normalizer")) {
    WEFT_RETURN_IF_ERROR(
        VisitSteps(*step, "normalizer", "normalizers",
                   [&reader](const auto&... args) { return reader.Normalizer(args...); }));
  }
  if (const json* step = Field(root, "pre_tokenizer")) {
    WEFT_RETURN_IF_ERROR(
        VisitSteps(*step, "pre_tokenizer", "pretokenizers",
                   [&reader](const auto&... args) { return reader.PreTokenizer(args...); }));
  }
  return reader.Finish();
}

absl::StatusOr<Template> ReadTemplate(const json& root) {
  Template out;
  const json* top = Field(root, "post_processor");
  if (top == nullptr) return out;
  const auto visit = [&out](const json& step, const std::string& type,
                            const std::string& path) -> absl::Status {
    if (type == "ByteLevel") return absl::OkStatus();
    if (type != "TemplateProcessing" || out.is_there) {
      return Unimplemented("{}.type '{}' is not supported", path, type);
    }
    out.is_there = true;
    const json* single = Field(step, "single");
    if (single == nullptr || !single->is_array()) {
      return InvalidArgument("{}.single must be an array", path);
    }
    bool after_text = false;
    for (size_t i = 0; i < single->size(); ++i) {
      const json& part = (*single)[i];
      if (Field(part, "Sequence") != nullptr && !after_text) {
        after_text = true;
        continue;
      }
      const json* token = Field(part, "SpecialToken");
      std::string& place = after_text ? out.after : out.before;
      if (token == nullptr || !place.empty()) {
        return Unimplemented("{}.single[{}]: only one token before and after the text", path, i);
      }
      WEFT_RETURN_IF_ERROR(ReadText(*token, fmt::format("{}.single[{}]", path, i), "id", place));
    }
    return absl::OkStatus();
  };
  WEFT_RETURN_IF_ERROR(VisitSteps(*top, "post_processor", "processors", visit));
  return out;
}

}  // namespace weft::tokenizer_json
