#include "libs/tokenizer/tokenizer.h"

#include <absl/container/flat_hash_map.h>

#include <algorithm>
#include <array>

#include "libs/base/status.h"
#include "libs/gguf/gguf.h"
#include "libs/tokenizer/bpe_merger.h"
#include "libs/tokenizer/pre_tokenizer.h"
#include "libs/tokenizer/special_tokens.h"
#include "libs/tokenizer/unicode.h"
#include "libs/tokenizer/utf8.h"

namespace weft {
namespace {

constexpr uint64_t kMaxVocab = 1u << 22;
constexpr uint64_t kMaxVocabBytes = 1u << 28;
constexpr size_t kMaxSpecialBytes = 1024;

// tokenizer.ggml.token_type
enum class TokenKind : int64_t { kNormal = 1, kUnknown, kControl, kUserDefined, kUnused, kByte };

// Byte-level vocabularies spell every byte as a printable character: those that are printable in
// Latin-1 as themselves, the others from U+0100 on (GPT-2's bytes_to_unicode).
absl::flat_hash_map<uint32_t, uint8_t> BytesByCharacter() {
  absl::flat_hash_map<uint32_t, uint8_t> out;
  uint32_t next = 0x100;
  for (uint32_t byte = 0; byte < 256; ++byte) {
    const bool printable = (byte >= 0x21 && byte <= 0x7E) || (byte >= 0xA1 && byte <= 0xAC) ||
                           (byte >= 0xAE && byte <= 0xFF);
    out.emplace(printable ? byte : next++, static_cast<uint8_t>(byte));
  }
  return out;
}

// Control tokens with these texts end a turn or a message whatever the metadata says.
constexpr std::string_view kEndTexts[] = {
    "<|im_end|>",
    "<|eot_id|>",
    "<|eom_id|>",
    "<|end|>",
    "<end_of_turn>",
    "<|endoftext|>",
    "<|EOT|>",
    "<|end_of_text|>",
    "<|return|>",
    "<|call|>",
    "</s>",
    "<|eot|>",
    "<\xEF\xBD\x9C"
    "end\xE2\x96\x81of\xE2\x96\x81sentence\xEF\xBD\x9C>",
};

}  // namespace

Tokenizer::Tokenizer() = default;
Tokenizer::~Tokenizer() = default;

// Builds one Tokenizer from one file.
struct Tokenizer::Loader {
  const GgufFile& file;
  Tokenizer& out;
  std::vector<std::string_view> names;  // [vocab] as the file spells them
  std::vector<int64_t> kinds;           // [vocab]
  std::vector<std::string_view> plain;  // [vocab] names of tokens that merging may give, or empty

  absl::Status Run() {
    WEFT_ASSIGN_OR_RETURN(const std::string_view model, file.GetString("tokenizer.ggml.model"));
    if (model != "gpt2") {
      return Unimplemented(
          "tokenizer.ggml.model '{}' is not supported, only 'gpt2' (byte-level BPE)", model);
    }
    std::string_view pre = "default";
    if (file.Has("tokenizer.ggml.pre")) {
      WEFT_ASSIGN_OR_RETURN(pre, file.GetString("tokenizer.ggml.pre"));
    }
    const std::optional<PreTokenizerSpec> spec = PreTokenizerByName(pre);
    if (!spec) {
      return Unimplemented("tokenizer.ggml.pre '{}' is not supported, only {}", pre,
                           SupportedPreTokenizers());
    }
    out.pre_ = spec->split;
    out.normalizes_ = spec->nfc;
    out.add_bos_ = spec->adds_bos;
    WEFT_RETURN_IF_ERROR(ReadVocabulary());
    ReadBytes();
    WEFT_RETURN_IF_ERROR(ReadSpecials());
    WEFT_ASSIGN_OR_RETURN(const std::vector<std::string_view> merges,
                          file.GetStringArray("tokenizer.ggml.merges"));
    std::vector<std::string_view> bytes(names.size());
    for (size_t i = 0; i < names.size(); ++i) {
      if (!plain[i].empty()) bytes[i] = out.TokenBytes(static_cast<int32_t>(i));
    }
    WEFT_ASSIGN_OR_RETURN(
        out.merger_,
        BpeMerger::Create(plain, bytes, merges, {.whole_pieces_first = spec->whole_pieces_first}));
    // Composition may make three bytes of nine (Hangul), before a token covers any of them.
    if (out.normalizes_) out.longest_token_ *= 3;
    return ReadPolicy();
  }

  absl::Status ReadVocabulary() {
    WEFT_ASSIGN_OR_RETURN(names, file.GetStringArray("tokenizer.ggml.tokens"));
    if (names.empty() || names.size() > kMaxVocab) {
      return InvalidArgument("tokenizer.ggml.tokens has {} entries: it must have 1 to {}",
                             names.size(), kMaxVocab);
    }
    uint64_t bytes = 0;
    for (const std::string_view name : names) bytes += name.size();
    if (bytes > kMaxVocabBytes) {
      return InvalidArgument("tokenizer.ggml.tokens has {} bytes: at most {}", bytes,
                             kMaxVocabBytes);
    }
    if (!file.Has("tokenizer.ggml.token_type")) {
      kinds.assign(names.size(), static_cast<int64_t>(TokenKind::kNormal));
      return absl::OkStatus();
    }
    WEFT_ASSIGN_OR_RETURN(kinds, file.GetIntArray("tokenizer.ggml.token_type"));
    if (kinds.size() != names.size()) {
      return InvalidArgument("tokenizer.ggml.token_type has {} entries, tokenizer.ggml.tokens {}",
                             kinds.size(), names.size());
    }
    return absl::OkStatus();
  }

  bool Is(size_t id, TokenKind kind) const { return kinds[id] == static_cast<int64_t>(kind); }
  bool IsSpecial(size_t id) const {
    return Is(id, TokenKind::kControl) || Is(id, TokenKind::kUnknown) ||
           Is(id, TokenKind::kUserDefined);
  }

  void ReadBytes() {
    const auto table = BytesByCharacter();
    out.is_control_.resize(names.size());
    plain.resize(names.size());
    std::string bytes;
    for (size_t i = 0; i < names.size(); ++i) {
      out.is_control_[i] = Is(i, TokenKind::kControl) || Is(i, TokenKind::kUnknown);
      bytes.clear();
      bool mapped = !IsSpecial(i);
      for (size_t at = 0; mapped && at < names[i].size();) {
        const Utf8Char c = DecodeUtf8(names[i], at);
        const auto byte = table.find(c.code_point);
        mapped = byte != table.end();
        if (mapped) bytes += static_cast<char>(byte->second);
        at += c.length;
      }
      // A name with other characters is an added token: it stands for its own text.
      out.token_bytes_ += mapped ? std::string_view(bytes) : names[i];
      out.token_ends_.push_back(static_cast<uint32_t>(out.token_bytes_.size()));
      if (mapped) plain[i] = names[i];
      out.longest_token_ =
          std::max(out.longest_token_, out.TokenBytes(static_cast<int32_t>(i)).size());
    }
  }

  absl::Status ReadSpecials() {
    out.control_and_user_ = std::make_unique<SpecialTokens>();
    out.user_ = std::make_unique<SpecialTokens>();
    for (size_t i = 0; i < names.size(); ++i) {
      if (!IsSpecial(i) || names[i].empty()) continue;
      if (names[i].size() > kMaxSpecialBytes) {
        return InvalidArgument(
            "tokenizer.ggml.tokens[{}] is a control token of {} bytes: at most {}", i,
            names[i].size(), kMaxSpecialBytes);
      }
      const auto id = static_cast<int32_t>(i);
      out.named_.emplace(names[i], id);
      const bool user_defined = Is(i, TokenKind::kUserDefined);
      out.control_and_user_->Add(names[i], id, !user_defined);
      if (user_defined) out.user_->Add(names[i], id, false);
    }
    return absl::OkStatus();
  }

  absl::Status ReadId(std::string_view key, int32_t& id) {
    if (!file.Has(key)) return absl::OkStatus();
    WEFT_ASSIGN_OR_RETURN(const uint64_t value, file.GetUint(key));
    if (value >= names.size()) {
      return InvalidArgument("{} is {}, but there are {} tokens", key, value, names.size());
    }
    id = static_cast<int32_t>(value);
    return absl::OkStatus();
  }

  absl::Status ReadFlag(std::string_view key, bool& flag) {
    if (!file.Has(key)) return absl::OkStatus();
    WEFT_ASSIGN_OR_RETURN(flag, file.GetBool(key));
    return absl::OkStatus();
  }

  absl::Status ReadPolicy() {
    int32_t eot = -1;
    int32_t eom = -1;
    WEFT_RETURN_IF_ERROR(ReadId("tokenizer.ggml.bos_token_id", out.bos_));
    WEFT_RETURN_IF_ERROR(ReadId("tokenizer.ggml.eos_token_id", out.eos_));
    WEFT_RETURN_IF_ERROR(ReadId("tokenizer.ggml.eot_token_id", eot));
    WEFT_RETURN_IF_ERROR(ReadId("tokenizer.ggml.eom_token_id", eom));
    WEFT_RETURN_IF_ERROR(ReadFlag("tokenizer.ggml.add_bos_token", out.add_bos_));
    WEFT_RETURN_IF_ERROR(ReadFlag("tokenizer.ggml.add_eos_token", out.add_eos_));
    std::vector<int32_t>& ends = out.end_of_generation_;
    for (const int32_t id : {out.eos_, eot, eom}) {
      if (id >= 0) ends.push_back(id);
    }
    for (const std::string_view text : kEndTexts) {
      const int32_t id = out.FindToken(text);
      if (id >= 0 && out.IsControl(id)) ends.push_back(id);
    }
    std::sort(ends.begin(), ends.end());
    ends.erase(std::unique(ends.begin(), ends.end()), ends.end());
    if (file.Has("tokenizer.chat_template")) {
      WEFT_ASSIGN_OR_RETURN(const std::string_view text, file.GetString("tokenizer.chat_template"));
      out.chat_template_ = std::string(text);
    }
    return absl::OkStatus();
  }
};

absl::StatusOr<std::shared_ptr<const Tokenizer>> Tokenizer::FromGguf(const GgufFile& file) {
  std::shared_ptr<Tokenizer> tokenizer(new Tokenizer());
  WEFT_RETURN_IF_ERROR((Loader{file, *tokenizer, {}, {}, {}}.Run()));
  return std::shared_ptr<const Tokenizer>(std::move(tokenizer));
}

std::string_view Tokenizer::TokenBytes(int32_t id) const {
  if (!IsValid(id)) return {};
  const uint32_t begin = id == 0 ? 0 : token_ends_[static_cast<size_t>(id) - 1];
  return std::string_view(token_bytes_).substr(begin, token_ends_[static_cast<size_t>(id)] - begin);
}

bool Tokenizer::IsControl(int32_t id) const {
  return IsValid(id) && is_control_[static_cast<size_t>(id)] != 0;
}

int32_t Tokenizer::FindToken(std::string_view text) const {
  const auto it = named_.find(std::string(text));
  return it == named_.end() ? -1 : it->second;
}

bool Tokenizer::IsEndOfGeneration(int32_t id) const {
  return std::binary_search(end_of_generation_.begin(), end_of_generation_.end(), id);
}

void Tokenizer::EncodePlain(std::string_view text, std::vector<int32_t>& out) const {
  std::string normalized;
  if (normalizes_ && std::any_of(text.begin(), text.end(),
                                 [](char c) { return static_cast<uint8_t>(c) >= 0x80; })) {
    normalized = unicode::Nfc(text);
    text = normalized;
  }
  std::vector<size_t> ends;
  SplitPieces(pre_, text, ends);
  size_t begin = 0;
  for (const size_t end : ends) {
    merger_->Encode(text.substr(begin, end - begin), out);
    begin = end;
  }
}

std::vector<int32_t> Tokenizer::Encode(std::string_view text, const EncodeOptions& options) const {
  std::vector<int32_t> out;
  out.reserve(text.size() / 3 + 2);
  if (options.add_special && add_bos_ && bos_ >= 0) out.push_back(bos_);
  const SpecialTokens& specials = options.parse_special ? *control_and_user_ : *user_;
  size_t begin = 0;
  SpecialTokens::Match match{};
  while (!specials.empty() && specials.FindNext(text, begin, options.literal, match)) {
    EncodePlain(text.substr(begin, match.begin - begin), out);
    out.push_back(match.id);
    begin = match.end;
  }
  EncodePlain(text.substr(begin), out);
  if (options.add_special && add_eos_ && eos_ >= 0) out.push_back(eos_);
  return out;
}

std::string Tokenizer::Decode(std::span<const int32_t> ids, bool skip_control) const {
  std::string out;
  Utf8Decoder decoder;
  for (const int32_t id : ids) {
    if (!skip_control || !IsControl(id)) decoder.Append(TokenBytes(id), out);
  }
  decoder.Flush(out);
  return out;
}

}  // namespace weft
