#include "services/scheduler/tokenizer_store.h"

#include <nlohmann/json.hpp>
#include <utility>

#include "libs/base/status.h"
#include "libs/gguf/gguf.h"
#include "libs/tokenizer/stream_detokenizer.h"

namespace weft::scheduler {
namespace {

class TokenizerText final : public TokenText {
 public:
  explicit TokenizerText(std::shared_ptr<const Tokenizer> tokenizer)
      : tokenizer_(std::move(tokenizer)) {}

  std::unique_ptr<Detokenizer> NewDetokenizer() const override {
    class Stream final : public Detokenizer {
     public:
      explicit Stream(std::shared_ptr<const Tokenizer> t) : stream_(std::move(t)) {}
      std::string Append(uint32_t id) override { return stream_.Append(static_cast<int32_t>(id)); }
      std::string Flush() override { return stream_.Flush(); }

     private:
      StreamDetokenizer stream_;
    };
    return std::make_unique<Stream>(tokenizer_);
  }
  std::string_view Bytes(uint32_t id) const override {
    return tokenizer_->TokenBytes(static_cast<int32_t>(id));
  }

 private:
  const std::shared_ptr<const Tokenizer> tokenizer_;
};

std::vector<uint32_t> Unsigned(const std::vector<int32_t>& ids) {
  return std::vector<uint32_t>(ids.begin(), ids.end());
}

std::string TokenName(const Tokenizer& tokenizer, int32_t id) {
  return id < 0 ? std::string() : std::string(tokenizer.TokenBytes(id));
}

}  // namespace

absl::StatusOr<std::shared_ptr<const LoadedTokenizer>> LoadedTokenizer::FromBytes(
    std::string gguf_metadata, const std::string& sha256) {
  WEFT_ASSIGN_OR_RETURN(const auto file, GgufFile::FromBytes(std::move(gguf_metadata)));
  // What FromBytes accepts and serialises to the same hash is the same metadata: the hash is that
  // of the canonical form.
  if (MetadataSha256(*file) != sha256) {
    return DataLoss("the tokenizer that came does not have the hash {}", sha256);
  }
  std::shared_ptr<LoadedTokenizer> loaded(new LoadedTokenizer());
  WEFT_ASSIGN_OR_RETURN(loaded->tokenizer_, Tokenizer::FromGguf(*file));
  loaded->text_ = std::make_shared<TokenizerText>(loaded->tokenizer_);
  loaded->fim_ = FimFormat::Find(*file, *loaded->tokenizer_);
  const std::string& jinja = loaded->tokenizer_->chat_template();
  if (jinja.empty()) {
    loaded->template_error_ = InvalidArgument("messages: the model has no chat template");
  } else if (auto parsed = ChatTemplate::Parse(jinja); parsed.ok()) {
    loaded->template_ = *std::move(parsed);
  } else {
    loaded->template_error_ = InvalidArgument(
        "messages: the model's chat template cannot be used: {}", Message(parsed.status()));
  }
  return std::shared_ptr<const LoadedTokenizer>(std::move(loaded));
}

std::vector<uint32_t> LoadedTokenizer::Encode(std::string_view text, bool add_special) const {
  EncodeOptions options;
  options.add_special = add_special;
  options.parse_special = false;
  return Unsigned(tokenizer_->Encode(text, options));
}

std::vector<uint32_t> LoadedTokenizer::EncodePrompt(std::string_view text) const {
  std::vector<uint32_t> ids = Encode(text, true);
  if (!ids.empty() || !text.empty()) return ids;
  for (const int32_t id :
       {tokenizer_->bos(), tokenizer_->FindToken("<|endoftext|>"), tokenizer_->eos()}) {
    if (id >= 0) return {static_cast<uint32_t>(id)};
  }
  return ids;
}

absl::StatusOr<std::vector<uint32_t>> LoadedTokenizer::EncodeChat(
    const v1::ChatMessages& chat, bool add_generation_prompt) const {
  if (!template_) return template_error_;
  nlohmann::ordered_json messages = nlohmann::ordered_json::array();
  for (const v1::ChatMessage& m : chat.messages()) {
    nlohmann::ordered_json message = {{"role", m.role()}, {"content", m.content()}};
    if (!m.name().empty()) message["name"] = m.name();
    messages.push_back(std::move(message));
  }
  ChatRenderOptions options;
  options.add_generation_prompt = add_generation_prompt;
  options.bos_token = TokenName(*tokenizer_, tokenizer_->bos());
  options.eos_token = TokenName(*tokenizer_, tokenizer_->eos());
  const auto rendered = template_->RenderMarked(messages, options);
  if (!rendered.ok()) return Annotate(rendered.status(), "messages");
  // The template writes the control tokens itself; what the messages say is text.
  EncodeOptions encode;
  encode.add_special = false;
  encode.parse_special = true;
  encode.literal = rendered->caller();
  return Unsigned(tokenizer_->Encode(rendered->text(), encode));
}

absl::StatusOr<FimPrompt> LoadedTokenizer::EncodeFillIn(const v1::FillIn& input,
                                                        size_t budget) const {
  if (!fim_.ok()) {
    return InvalidArgument("suffix: the model has no tokens for fill-in-the-middle");
  }
  FimInput parts;
  parts.prefix = input.prefix();
  parts.suffix = input.suffix();
  parts.middle = input.middle();
  parts.filename = input.filename();
  parts.repository = input.repository();
  for (const v1::ExtraFile& file : input.extra()) {
    parts.extra.push_back({.name = file.filename(), .text = file.text()});
  }
  auto prompt = BuildFimPrompt(*tokenizer_, fim_, parts, budget);
  if (!prompt.ok()) return Annotate(prompt.status(), "suffix");
  return prompt;
}

std::shared_ptr<const LoadedTokenizer> TokenizerStore::Find(const std::string& sha256) const {
  std::lock_guard lock(mutex_);
  const auto it = tokenizers_.find(sha256);
  return it == tokenizers_.end() ? nullptr : it->second;
}

void TokenizerStore::Add(const std::string& sha256,
                         std::shared_ptr<const LoadedTokenizer> tokenizer) {
  std::lock_guard lock(mutex_);
  tokenizers_[sha256] = std::move(tokenizer);
}

bool TokenizerStore::Claim(const std::string& sha256) {
  std::lock_guard lock(mutex_);
  return tokenizers_.try_emplace(sha256, nullptr).second;
}

void TokenizerStore::GiveUp(const std::string& sha256) {
  std::lock_guard lock(mutex_);
  const auto it = tokenizers_.find(sha256);
  if (it != tokenizers_.end() && it->second == nullptr) tokenizers_.erase(it);
}

}  // namespace weft::scheduler
