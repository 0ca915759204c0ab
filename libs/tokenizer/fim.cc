#include "libs/tokenizer/fim.h"

#include <algorithm>
#include <array>
#include <initializer_list>

#include "libs/base/status.h"
#include "libs/gguf/gguf.h"
#include "libs/tokenizer/tokenizer.h"

namespace weft {
namespace {

struct Spelling {
  std::string_view prefix, suffix, middle, pad;
};
constexpr std::array<Spelling, 6> kSpellings = {{
    {"<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>", "<|fim_pad|>"},  // Qwen 2.5
    {"<fim_prefix>", "<fim_suffix>", "<fim_middle>", "<fim_pad>"},          // StarCoder, Granite
    {"<fim-prefix>", "<fim-suffix>", "<fim-middle>", "<fim-pad>"},          // SantaCoder
    {"<｜fim▁begin｜>", "<｜fim▁hole｜>", "<｜fim▁end｜>", ""},             // DeepSeek
    {"▁<PRE>", "▁<SUF>", "▁<MID>", ""},                                     // CodeLlama
    {"[PREFIX]", "[SUFFIX]", "", ""},                                       // Codestral
}};
constexpr std::string_view kSuffixFirst = "[PREFIX]";

struct FileSpelling {
  std::string_view repository, file_separator, after_repository;
};
constexpr std::array<FileSpelling, 3> kFileSpellings = {{
    {"<|repo_name|>", "<|file_sep|>", "\n"},  // Qwen 2.5
    {"<repo_name>", "<file_sep>", ""},        // StarCoder2
    {"<reponame>", "<filename>", ""},         // StarCoder, Granite
}};

// What a model was trained on needs a name there.
constexpr std::string_view kSomeRepository = "repository";
constexpr std::string_view kSomeFile = "file";

int32_t FromMetadata(const GgufFile& metadata, const Tokenizer& tokenizer,
                     std::initializer_list<std::string_view> names) {
  for (const std::string_view name : names) {
    const auto id = metadata.GetInt(fmt::format("tokenizer.ggml.{}_token_id", name));
    if (id.ok() && *id >= 0 && *id < tokenizer.vocab_size()) return static_cast<int32_t>(*id);
  }
  return -1;
}

int32_t Spelled(const Tokenizer& tokenizer, std::string_view text) {
  return text.empty() ? -1 : tokenizer.FindToken(text);
}

std::vector<int32_t> Text(const Tokenizer& tokenizer, std::string_view text) {
  return tokenizer.Encode(text, {.add_special = false, .parse_special = false});
}

// What stands in the middle of a text: CodeLlama and Codestral were trained without the space that
// SentencePiece puts before the first word of a text, and so is what they answer.
std::vector<int32_t> TextWithin(const Tokenizer& tokenizer, std::string_view text) {
  return tokenizer.Encode(
      text, {.add_special = false, .parse_special = false, .literal = {}, .continues = true});
}

void Append(std::vector<int32_t>& out, const std::vector<int32_t>& ids) {
  out.insert(out.end(), ids.begin(), ids.end());
}

}  // namespace

std::vector<int32_t> FimFormat::StopIds() const {
  std::vector<int32_t> out;
  for (const int32_t id : {prefix, suffix, middle, pad, repository, file_separator}) {
    if (id >= 0) out.push_back(id);
  }
  return out;
}

FimFormat FimFormat::Find(const GgufFile& metadata, const Tokenizer& tokenizer) {
  FimFormat out;
  out.prefix = FromMetadata(metadata, tokenizer, {"fim_pre", "prefix"});
  out.suffix = FromMetadata(metadata, tokenizer, {"fim_suf", "suffix"});
  out.middle = FromMetadata(metadata, tokenizer, {"fim_mid", "middle"});
  out.pad = FromMetadata(metadata, tokenizer, {"fim_pad"});
  if (!out.ok()) {
    for (const Spelling& s : kSpellings) {
      out.prefix = Spelled(tokenizer, s.prefix);
      out.suffix = Spelled(tokenizer, s.suffix);
      out.middle = Spelled(tokenizer, s.middle);
      out.pad = Spelled(tokenizer, s.pad);
      if (out.ok() && (out.middle >= 0 || s.middle.empty())) break;
      out = {};
    }
  }
  if (!out.ok()) return {};
  if (tokenizer.TokenBytes(out.prefix) == kSuffixFirst) {
    out.suffix_first = true;
    out.middle = -1;  // its vocabulary has one that its format does not use
  } else if (out.middle < 0) {
    return {};
  }
  out.repository = FromMetadata(metadata, tokenizer, {"fim_rep"});
  out.file_separator = FromMetadata(metadata, tokenizer, {"fim_sep"});
  for (const FileSpelling& s : kFileSpellings) {
    if (!out.has_files()) {
      out.repository = Spelled(tokenizer, s.repository);
      out.file_separator = Spelled(tokenizer, s.file_separator);
    }
    if (out.has_files() && tokenizer.TokenBytes(out.repository) == s.repository) {
      out.after_repository = s.after_repository;
      break;
    }
  }
  if (!out.has_files()) {
    out.repository = out.file_separator = -1;
    out.file_header = out.suffix_first ? "+++++ " : "#";
  }
  return out;
}

FimShare ShareFimBudget(const FimLengths& lengths, size_t budget) {
  FimShare out;
  if (budget < lengths.fixed) {
    out.fits = false;
    out.truncated = true;
    return out;
  }
  size_t left = budget - lengths.fixed;
  const size_t for_suffix = left / 4;
  const size_t for_prefix = left - for_suffix;
  out.prefix =
      std::min(lengths.prefix, for_prefix + (for_suffix - std::min(lengths.suffix, for_suffix)));
  out.suffix = std::min(lengths.suffix, left - out.prefix);
  left -= out.prefix + out.suffix;
  out.first_extra = lengths.extra.size();
  while (out.first_extra > 0 && lengths.extra[out.first_extra - 1] <= left) {
    left -= lengths.extra[--out.first_extra];
  }
  out.truncated = out.prefix < lengths.prefix || out.suffix < lengths.suffix || out.first_extra > 0;
  return out;
}

absl::StatusOr<FimPrompt> BuildFimPrompt(const Tokenizer& tokenizer, const FimFormat& format,
                                         const FimInput& input, size_t budget) {
  WEFT_CHECK(format.ok());
  const auto file_header = [&](std::string_view name) {
    std::vector<int32_t> ids;
    if (format.has_files()) ids.push_back(format.file_separator);
    Append(ids, Text(tokenizer, fmt::format("{}{}\n", format.file_header, name)));
    return ids;
  };
  std::vector<std::vector<int32_t>> extra;
  for (const FimFile& file : input.extra) {
    std::vector<int32_t> ids = file_header(file.name.empty() ? kSomeFile : file.name);
    Append(ids, Text(tokenizer, file.text));
    if (!file.text.ends_with('\n')) Append(ids, Text(tokenizer, "\n"));
    extra.push_back(std::move(ids));
  }
  // The edited file has a header when there are others, or when its name is known and the model has
  // a token for it.
  std::vector<int32_t> begin;
  if (tokenizer.adds_bos()) begin.push_back(tokenizer.bos());
  std::vector<int32_t> header;
  const bool named = !input.filename.empty();
  if (!extra.empty() || (named && format.has_files())) {
    if (format.has_files()) {
      begin.push_back(format.repository);
      Append(begin,
             Text(tokenizer,
                  fmt::format("{}{}", input.repository.empty() ? kSomeRepository : input.repository,
                              format.after_repository)));
    }
    if (named || format.has_files()) header = file_header(named ? input.filename : kSomeFile);
  }
  const std::vector<int32_t> prefix = Text(tokenizer, input.prefix);
  const std::vector<int32_t> suffix = TextWithin(tokenizer, input.suffix);
  const std::vector<int32_t> middle = TextWithin(tokenizer, input.middle);

  FimLengths lengths;
  lengths.prefix = prefix.size();
  lengths.suffix = suffix.size();
  lengths.fixed = begin.size() + header.size() + middle.size() + (format.middle >= 0 ? 3 : 2);
  for (const auto& ids : extra) lengths.extra.push_back(ids.size());
  const FimShare share = ShareFimBudget(lengths, budget);
  if (!share.fits) {
    return InvalidArgument("{} tokens are needed besides prefix and suffix, there is room for {}",
                           lengths.fixed, budget);
  }

  FimPrompt out;
  out.truncated = share.truncated;
  std::vector<int32_t>& ids = out.ids;
  ids = std::move(begin);
  const auto files = [&] {
    for (size_t i = share.first_extra; i < extra.size(); ++i) Append(ids, extra[i]);
    Append(ids, header);
  };
  const auto kept_prefix = [&] {
    ids.push_back(format.prefix);
    // Where no token marks files, they are text in front of the edited one.
    if (!format.has_files()) files();
    ids.insert(ids.end(), prefix.end() - static_cast<ptrdiff_t>(share.prefix), prefix.end());
  };
  if (format.has_files()) files();
  if (!format.suffix_first) kept_prefix();
  ids.push_back(format.suffix);
  ids.insert(ids.end(), suffix.begin(), suffix.begin() + static_cast<ptrdiff_t>(share.suffix));
  if (format.suffix_first) kept_prefix();
  if (format.middle >= 0) ids.push_back(format.middle);
  Append(ids, middle);
  return out;
}

}  // namespace weft
