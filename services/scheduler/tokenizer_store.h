// The tokenizers and chat templates of the models that workers serve, by content hash.
#pragma once

#include <absl/status/status.h>
#include <absl/status/statusor.h>

#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "libs/tokenizer/chat_template.h"
#include "libs/tokenizer/fim.h"
#include "libs/tokenizer/tokenizer.h"
#include "services/scheduler/token_text.h"
#include "weft/v1/inference.pb.h"

namespace weft::scheduler {

// Immutable, thread safe.
class LoadedTokenizer {
 public:
  // From what WorkerService.GetTokenizer sent. DATA_LOSS when the bytes do not have the hash;
  // errors of the metadata name the key.
  static absl::StatusOr<std::shared_ptr<const LoadedTokenizer>> FromBytes(
      std::string gguf_metadata, const std::string& sha256);

  // Text as it is: no template. Control tokens are not parsed.
  std::vector<uint32_t> Encode(std::string_view text, bool add_special) const;
  // The same, with the special tokens that the model asks for. An empty prompt is the beginning of
  // a document: BOS, also where it is not put before text, else <|endoftext|>, else EOS. Empty when
  // the model has none of them.
  std::vector<uint32_t> EncodePrompt(std::string_view text) const;
  // Control tokens are those that the template writes: text of the messages that is spelled like
  // one stays text. INVALID_ARGUMENT: the model has no chat template, or its template refuses the
  // messages.
  absl::StatusOr<std::vector<uint32_t>> EncodeChat(const v1::ChatMessages& chat,
                                                   bool add_generation_prompt) const;

  // The whole fill-in-the-middle prompt in at most `budget` tokens. INVALID_ARGUMENT: the model has
  // no tokens for it, or the budget is too small.
  absl::StatusOr<FimPrompt> EncodeFillIn(const v1::FillIn& input, size_t budget) const;
  const FimFormat& fim() const { return fim_; }

  const Tokenizer& tokenizer() const { return *tokenizer_; }
  const std::shared_ptr<const TokenText>& text() const { return text_; }

 private:
  LoadedTokenizer() = default;
  std::shared_ptr<const Tokenizer> tokenizer_;
  std::optional<ChatTemplate> template_;
  absl::Status template_error_;
  FimFormat fim_;
  std::shared_ptr<const TokenText> text_;
};

// Thread safe.
class TokenizerStore {
 public:
  // Null when it is not there.
  std::shared_ptr<const LoadedTokenizer> Find(const std::string& sha256) const;
  void Add(const std::string& sha256, std::shared_ptr<const LoadedTokenizer> tokenizer);
  // True for exactly one caller at a time, which then loads it and ends with Add or GiveUp. False
  // when it is there or being loaded.
  bool Claim(const std::string& sha256);
  void GiveUp(const std::string& sha256);

 private:
  mutable std::mutex mutex_;
  // A null value: claimed.
  std::unordered_map<std::string, std::shared_ptr<const LoadedTokenizer>> tokenizers_;
};

}  // namespace weft::scheduler
