#include "libs/tokenizer/tokenizer_loader.h"

#include <absl/container/flat_hash_map.h>

#include <algorithm>

#include "libs/base/status.h"
#include "libs/tokenizer/byte_level_bpe.h"
#include "libs/tokenizer/sentencepiece_bpe.h"
#include "libs/tokenizer/special_tokens.h"
#include "libs/tokenizer/unigram.h"
#include "libs/tokenizer/utf8.h"

namespace weft {
namespace {

constexpr uint64_t kMaxVocab = 1u << 22;
constexpr uint64_t kMaxVocabBytes = 1u << 28;
constexpr size_t kMaxSpecialBytes = 1024;

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

absl::Status TokenizerLoader::Run() {
  WEFT_ASSIGN_OR_RETURN(const std::string_view model, file_.GetString("tokenizer.ggml.model"));
  if (model != "gpt2" && model != "llama" && model != "t5") {
    return Unimplemented(
        "tokenizer.ggml.model '{}' is not supported, only 'gpt2' (byte-level BPE), 'llama' "
        "(SentencePiece BPE) and 't5' (unigram)",
        model);
  }
  WEFT_RETURN_IF_ERROR(ReadVocabulary());
  if (model == "gpt2") {
    WEFT_RETURN_IF_ERROR(ReadByteLevel());
  } else {
    WEFT_RETURN_IF_ERROR(ReadSentencePiece(model == "t5"));
  }
  WEFT_RETURN_IF_ERROR(ReadSpecials());
  WEFT_RETURN_IF_ERROR(ReadStrips());
  return ReadPolicy();
}

absl::Status TokenizerLoader::ReadVocabulary() {
  WEFT_ASSIGN_OR_RETURN(names_, file_.GetStringArray("tokenizer.ggml.tokens"));
  if (names_.empty() || names_.size() > kMaxVocab) {
    return InvalidArgument("tokenizer.ggml.tokens has {} entries: it must have 1 to {}",
                           names_.size(), kMaxVocab);
  }
  uint64_t bytes = 0;
  for (const std::string_view name : names_) bytes += name.size();
  if (bytes > kMaxVocabBytes) {
    return InvalidArgument("tokenizer.ggml.tokens has {} bytes: at most {}", bytes, kMaxVocabBytes);
  }
  kinds_.assign(names_.size(), TokenKind::kNormal);
  if (!file_.Has("tokenizer.ggml.token_type")) return absl::OkStatus();
  WEFT_ASSIGN_OR_RETURN(const std::vector<int64_t> kinds,
                        file_.GetIntArray("tokenizer.ggml.token_type"));
  if (kinds.size() != names_.size()) {
    return InvalidArgument("tokenizer.ggml.token_type has {} entries, tokenizer.ggml.tokens {}",
                           kinds.size(), names_.size());
  }
  for (size_t i = 0; i < kinds.size(); ++i) {
    // Kinds that are not known are those of tokens that text never gives.
    kinds_[i] =
        kinds[i] >= 1 && kinds[i] <= 6 ? static_cast<TokenKind>(kinds[i]) : TokenKind::kUnused;
  }
  return absl::OkStatus();
}

void TokenizerLoader::AppendTokenBytes(std::string_view bytes) {
  out_.token_bytes_ += bytes;
  out_.token_ends_.push_back(static_cast<uint32_t>(out_.token_bytes_.size()));
  out_.longest_token_ = std::max(out_.longest_token_, bytes.size());
}

absl::StatusOr<TextNormalizer> TokenizerLoader::ReadNormalizer(
    std::vector<std::string_view> steps) {
  std::shared_ptr<const Charsmap> charsmap;
  constexpr std::string_view kKey = "tokenizer.ggml.precompiled_charsmap";
  if (const GgufFile::Entry* entry = file_.Find(kKey); entry != nullptr && entry->count > 0) {
    if (entry->type != GgufType::kArray ||
        (entry->element != GgufType::kUint8 && entry->element != GgufType::kInt8)) {
      return InvalidArgument("{} must be an array of bytes", kKey);
    }
    WEFT_ASSIGN_OR_RETURN(charsmap, Charsmap::Create(entry->payload));
    if (steps.empty()) steps.push_back("precompiled");
  }
  if (file_.Has("weft.tokenizer.normalizer")) {
    WEFT_ASSIGN_OR_RETURN(steps, file_.GetStringArray("weft.tokenizer.normalizer"));
  }
  return TextNormalizer::Create(steps, std::move(charsmap));
}

absl::Status TokenizerLoader::ReadByteLevel() {
  std::string_view pre = "default";
  if (file_.Has("tokenizer.ggml.pre")) {
    WEFT_ASSIGN_OR_RETURN(pre, file_.GetString("tokenizer.ggml.pre"));
  }
  const std::optional<PreTokenizerSpec> spec = PreTokenizerByName(pre);
  if (!spec) {
    return Unimplemented("tokenizer.ggml.pre '{}' is not supported, only {}", pre,
                         SupportedPreTokenizers());
  }
  out_.add_bos_ = spec->adds_bos;
  const auto table = BytesByCharacter();
  std::vector<std::string_view> plain(names_.size());  // of tokens that merging may give, or empty
  std::string bytes;
  for (size_t i = 0; i < names_.size(); ++i) {
    bytes.clear();
    bool mapped = !IsSpecial(i);
    for (size_t at = 0; mapped && at < names_[i].size();) {
      const Utf8Char c = DecodeUtf8(names_[i], at);
      const auto byte = table.find(c.code_point);
      mapped = byte != table.end();
      if (mapped) bytes += static_cast<char>(byte->second);
      at += c.length;
    }
    // A name with other characters is an added token: it stands for its own text.
    AppendTokenBytes(mapped ? std::string_view(bytes) : names_[i]);
    if (mapped) plain[i] = names_[i];
  }
  std::vector<std::string_view> token_bytes(names_.size());
  for (size_t i = 0; i < names_.size(); ++i) {
    if (!plain[i].empty()) token_bytes[i] = out_.TokenBytes(static_cast<int32_t>(i));
  }
  WEFT_ASSIGN_OR_RETURN(const std::vector<std::string_view> merges,
                        file_.GetStringArray("tokenizer.ggml.merges"));
  BpeMerger::Options options{.whole_pieces_first = spec->whole_pieces_first};
  WEFT_RETURN_IF_ERROR(ReadFlag("weft.tokenizer.whole_pieces_first", options.whole_pieces_first));
  WEFT_ASSIGN_OR_RETURN(auto merger, BpeMerger::Create(plain, token_bytes, merges, options));
  std::vector<std::string_view> steps;
  if (spec->nfc) steps.push_back("nfc");
  WEFT_ASSIGN_OR_RETURN(TextNormalizer normalizer, ReadNormalizer(std::move(steps)));
  out_.longest_token_ *= normalizer.MostBytesPerByte();
  out_.encoder_ =
      std::make_unique<ByteLevelBpe>(std::move(normalizer), spec->split, std::move(merger));
  return absl::OkStatus();
}

absl::Status TokenizerLoader::ReadSentencePiece(bool unigram) {
  SentencePieceVocab vocab;
  vocab.kinds = kinds_;
  vocab.scores.resize(names_.size());
  if (file_.Has("tokenizer.ggml.scores")) {
    WEFT_ASSIGN_OR_RETURN(const std::vector<double> scores,
                          file_.GetFloatArray("tokenizer.ggml.scores"));
    if (scores.size() != names_.size()) {
      return InvalidArgument("tokenizer.ggml.scores has {} entries, tokenizer.ggml.tokens {}",
                             scores.size(), names_.size());
    }
    for (size_t i = 0; i < scores.size(); ++i) {
      if (!(scores[i] > -1e30 && scores[i] < 1e30)) {
        return InvalidArgument("tokenizer.ggml.scores[{}] is not a finite number", i);
      }
      vocab.scores[i] = scores[i];
    }
  }
  bool has_bytes = true;
  std::vector<bool> seen(256);
  for (size_t i = 0; i < names_.size(); ++i) {
    const int byte = kinds_[i] == TokenKind::kByte ? ByteOfName(names_[i]) : -1;
    if (kinds_[i] == TokenKind::kByte && byte < 0) {
      return InvalidArgument("tokenizer.ggml.tokens[{}] is a byte, but not named like <0x41>", i);
    }
    const bool is_text = kinds_[i] != TokenKind::kControl && kinds_[i] != TokenKind::kUnknown;
    vocab.texts.push_back(is_text ? UnescapeSpaces(names_[i]) : std::string(names_[i]));
    if (byte >= 0) {
      seen[static_cast<size_t>(byte)] = true;
      const char value = static_cast<char>(byte);
      AppendTokenBytes({&value, 1});
    } else {
      AppendTokenBytes(vocab.texts[i]);
    }
  }
  has_bytes = std::find(seen.begin(), seen.end(), false) == seen.end();
  WEFT_RETURN_IF_ERROR(ReadId("tokenizer.ggml.unknown_token_id", vocab.unknown));
  if (vocab.unknown < 0) {
    const auto it = std::find(kinds_.begin(), kinds_.end(), TokenKind::kUnknown);
    if (it != kinds_.end()) vocab.unknown = static_cast<int32_t>(it - kinds_.begin());
  }

  bool prefix = true;
  WEFT_RETURN_IF_ERROR(ReadFlag("tokenizer.ggml.add_space_prefix", prefix));
  WEFT_RETURN_IF_ERROR(
      ReadFlag("tokenizer.ggml.remove_extra_whitespaces", vocab.spaces.remove_extra));
  WEFT_RETURN_IF_ERROR(ReadFlag("weft.tokenizer.split_on_spaces", vocab.spaces.split));
  using Prefix = SpaceRules::Prefix;
  vocab.spaces.prefix = prefix ? Prefix::kFirstAndAfterControl : Prefix::kNone;
  if (prefix && file_.Has("weft.tokenizer.space_prefix")) {
    WEFT_ASSIGN_OR_RETURN(const std::string_view name,
                          file_.GetString("weft.tokenizer.space_prefix"));
    constexpr std::pair<std::string_view, Prefix> kNames[] = {
        {"first", Prefix::kFirst},
        {"each", Prefix::kEach},
        {"first_if_missing", Prefix::kFirstIfMissing},
        {"each_if_missing", Prefix::kEachIfMissing}};
    const auto* it = std::find_if(std::begin(kNames), std::end(kNames),
                                  [name](const auto& item) { return item.first == name; });
    if (it == std::end(kNames)) {
      return InvalidArgument("weft.tokenizer.space_prefix '{}' is unknown", name);
    }
    vocab.spaces.prefix = it->second;
  }
  out_.removes_extra_spaces_ = vocab.spaces.remove_extra;
  out_.puts_space_first_ = prefix || vocab.spaces.remove_extra;
  out_.repairs_each_byte_ = true;
  WEFT_ASSIGN_OR_RETURN(vocab.normalizer, ReadNormalizer({}));
  // U+2581 in text is a space; without byte tokens a run of unknown characters is one token.
  out_.longest_token_ *=
      has_bytes && !vocab.spaces.remove_extra ? 3 * vocab.normalizer.MostBytesPerByte() : 0;

  bool by_rank = false;
  bool double_sums = false;
  WEFT_RETURN_IF_ERROR(ReadFlag("weft.tokenizer.merges_by_rank", by_rank));
  WEFT_RETURN_IF_ERROR(ReadFlag("weft.tokenizer.double_scores", double_sums));
  if (unigram) {
    out_.encoder_ = std::make_unique<Unigram>(std::move(vocab), double_sums);
    out_.add_eos_ = true;
    return absl::OkStatus();
  }
  out_.add_bos_ = true;
  std::vector<std::string_view> merges;
  if (by_rank) {
    WEFT_ASSIGN_OR_RETURN(merges, file_.GetStringArray("tokenizer.ggml.merges"));
  } else if (!file_.Has("tokenizer.ggml.scores")) {
    return InvalidArgument("tokenizer.ggml.scores is missing");
  }
  WEFT_ASSIGN_OR_RETURN(out_.encoder_, SentencePieceBpe::Create(std::move(vocab), by_rank, merges));
  return absl::OkStatus();
}

absl::Status TokenizerLoader::ReadSpecials() {
  out_.control_and_user_ = std::make_unique<SpecialTokens>();
  out_.user_ = std::make_unique<SpecialTokens>();
  out_.is_control_.resize(names_.size());
  for (size_t i = 0; i < names_.size(); ++i) {
    out_.is_control_[i] =
        kinds_[i] == TokenKind::kControl || kinds_[i] == TokenKind::kUnknown ? 1 : 0;
    if (!IsSpecial(i) || names_[i].empty()) continue;
    if (names_[i].size() > kMaxSpecialBytes) {
      return InvalidArgument("tokenizer.ggml.tokens[{}] is a control token of {} bytes: at most {}",
                             i, names_[i].size(), kMaxSpecialBytes);
    }
    const auto id = static_cast<int32_t>(i);
    out_.named_.emplace(names_[i], id);
    const bool user_defined = kinds_[i] == TokenKind::kUserDefined;
    out_.control_and_user_->Add(names_[i], id, !user_defined);
    if (user_defined) out_.user_->Add(names_[i], id, false);
  }
  return absl::OkStatus();
}

absl::Status TokenizerLoader::ReadStrips() {
  std::vector<int32_t> left;
  std::vector<int32_t> right;
  WEFT_RETURN_IF_ERROR(ReadIds("weft.tokenizer.strip_left", left));
  WEFT_RETURN_IF_ERROR(ReadIds("weft.tokenizer.strip_right", right));
  // GGUF has no word for it: Phi-3's markers swallow the line break after them.
  const auto architecture = file_.GetString("general.architecture");
  if (architecture.ok() && *architecture == "phi3" && out_.puts_space_first_) {
    for (size_t i = 0; i < names_.size(); ++i) {
      const bool is_text_end = names_[i] == "<s>" || names_[i] == "<|endoftext|>";
      if (kinds_[i] == TokenKind::kControl && !is_text_end) {
        right.push_back(static_cast<int32_t>(i));
      }
    }
  }
  if (left.empty() && right.empty()) return absl::OkStatus();
  out_.strips_.resize(names_.size());
  for (const int32_t id : left) out_.strips_[static_cast<size_t>(id)] |= 1;
  for (const int32_t id : right) out_.strips_[static_cast<size_t>(id)] |= 2;
  return absl::OkStatus();
}

absl::Status TokenizerLoader::ReadId(std::string_view key, int32_t& id) const {
  if (!file_.Has(key)) return absl::OkStatus();
  WEFT_ASSIGN_OR_RETURN(const uint64_t value, file_.GetUint(key));
  if (value >= names_.size()) {
    return InvalidArgument("{} is {}, but there are {} tokens", key, value, names_.size());
  }
  id = static_cast<int32_t>(value);
  return absl::OkStatus();
}

absl::Status TokenizerLoader::ReadIds(std::string_view key, std::vector<int32_t>& ids) const {
  if (!file_.Has(key)) return absl::OkStatus();
  WEFT_ASSIGN_OR_RETURN(const std::vector<int64_t> values, file_.GetIntArray(key));
  for (size_t i = 0; i < values.size(); ++i) {
    if (values[i] < 0 || static_cast<uint64_t>(values[i]) >= names_.size()) {
      return InvalidArgument("{}[{}] is {}, but there are {} tokens", key, i, values[i],
                             names_.size());
    }
    ids.push_back(static_cast<int32_t>(values[i]));
  }
  return absl::OkStatus();
}

absl::Status TokenizerLoader::ReadFlag(std::string_view key, bool& flag) const {
  if (!file_.Has(key)) return absl::OkStatus();
  WEFT_ASSIGN_OR_RETURN(flag, file_.GetBool(key));
  return absl::OkStatus();
}

absl::Status TokenizerLoader::ReadPolicy() {
  WEFT_RETURN_IF_ERROR(ReadId("tokenizer.ggml.bos_token_id", out_.bos_));
  WEFT_RETURN_IF_ERROR(ReadId("tokenizer.ggml.eos_token_id", out_.eos_));
  WEFT_RETURN_IF_ERROR(ReadFlag("tokenizer.ggml.add_bos_token", out_.add_bos_));
  WEFT_RETURN_IF_ERROR(ReadFlag("tokenizer.ggml.add_eos_token", out_.add_eos_));
  WEFT_RETURN_IF_ERROR(ReadEnds());
  if (file_.Has("tokenizer.chat_template")) {
    WEFT_ASSIGN_OR_RETURN(const std::string_view text, file_.GetString("tokenizer.chat_template"));
    out_.chat_template_ = std::string(text);
  }
  return absl::OkStatus();
}

absl::Status TokenizerLoader::ReadEnds() {
  int32_t eot = -1;
  int32_t eom = -1;
  WEFT_RETURN_IF_ERROR(ReadId("tokenizer.ggml.eot_token_id", eot));
  WEFT_RETURN_IF_ERROR(ReadId("tokenizer.ggml.eom_token_id", eom));
  std::vector<int32_t>& ends = out_.end_of_generation_;
  WEFT_RETURN_IF_ERROR(ReadIds("weft.tokenizer.end_ids", ends));
  for (const int32_t id : {out_.eos_, eot, eom}) {
    if (id >= 0) ends.push_back(id);
  }
  for (const std::string_view text : kEndTexts) {
    const int32_t id = out_.FindToken(text);
    if (id >= 0 && out_.IsControl(id)) ends.push_back(id);
  }
  std::sort(ends.begin(), ends.end());
  ends.erase(std::unique(ends.begin(), ends.end()), ends.end());
  return absl::OkStatus();
}

}  // namespace weft
