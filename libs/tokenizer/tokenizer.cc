#include "libs/tokenizer/tokenizer.h"

#include <algorithm>

#include "libs/base/status.h"
#include "libs/tokenizer/special_tokens.h"
#include "libs/tokenizer/stream_detokenizer.h"
#include "libs/tokenizer/text_encoder.h"
#include "libs/tokenizer/tokenizer_loader.h"
#include "libs/tokenizer/unicode.h"
#include "libs/tokenizer/utf8.h"

namespace weft {
namespace {

// Where the white space that `text` ends with, at or after `from`, begins.
size_t TrailingSpace(std::string_view text, size_t from) {
  size_t end = from;
  for (size_t at = from; at < text.size();) {
    const Utf8Char c = DecodeUtf8(text, at);
    at += c.length;
    if (!unicode::Is(c.code_point, unicode::kSpace)) end = at;
  }
  return end;
}

size_t AfterSpace(std::string_view text, size_t at) {
  while (at < text.size()) {
    const Utf8Char c = DecodeUtf8(text, at);
    if (!unicode::Is(c.code_point, unicode::kSpace)) break;
    at += c.length;
  }
  return at;
}

}  // namespace

Tokenizer::Tokenizer() = default;
Tokenizer::~Tokenizer() = default;

absl::StatusOr<std::shared_ptr<const Tokenizer>> Tokenizer::FromGguf(const GgufFile& file) {
  std::shared_ptr<Tokenizer> tokenizer(new Tokenizer());
  WEFT_RETURN_IF_ERROR(TokenizerLoader(file, *tokenizer).Run());
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

std::vector<int32_t> Tokenizer::Encode(std::string_view text, const EncodeOptions& options) const {
  std::vector<int32_t> out;
  out.reserve(text.size() / 3 + 2);
  if (options.add_special && add_bos_ && bos_ >= 0) out.push_back(bos_);
  const SpecialTokens& specials = options.parse_special ? *control_and_user_ : *user_;
  size_t begin = 0;
  float score_sum = 0;
  TextPart part{.is_last = false, .continues = options.continues, .score_sum = &score_sum};
  SpecialTokens::Match match{};
  while (!specials.empty() && specials.FindNext(text, begin, options.literal, match)) {
    const uint8_t strips = strips_.empty() ? 0 : strips_[static_cast<size_t>(match.id)];
    const bool is_control = IsControl(match.id);
    size_t end = match.begin;
    if ((strips & 1) != 0) end = TrailingSpace(text.substr(0, end), begin);
    part.user_token = is_control ? -1 : match.id;
    encoder_->Encode(text.substr(begin, end - begin), part, out);
    out.push_back(match.id);
    begin = (strips & 2) != 0 ? AfterSpace(text, match.end) : match.end;
    if (is_control) score_sum = 0;
    part = {.is_first = false,
            .is_last = false,
            .follows_control = is_control,
            .score_sum = &score_sum};
  }
  part.is_last = true;
  encoder_->Encode(text.substr(begin), part, out);
  if (options.add_special && add_eos_ && eos_ >= 0) out.push_back(eos_);
  return out;
}

std::string Tokenizer::Decode(std::span<const int32_t> ids, bool skip_control) const {
  TokenDecoder decoder(*this, {.skip_control = skip_control, .begins_text = true});
  std::string out;
  for (const int32_t id : ids) decoder.Append(id, out);
  decoder.Flush(out);
  return out;
}

}  // namespace weft
