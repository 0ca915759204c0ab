#include "services/scheduler/prompt_preparer.h"

#include <algorithm>
#include <utility>

#include "libs/base/status.h"
#include "services/scheduler/rpc_code.h"
#include "services/scheduler/validate.h"

namespace weft::scheduler {
namespace {

// Text so long that no tokenisation of it fits is refused without tokenising it.
std::optional<v1::RequestError> TooLong(const LoadedTokenizer& tokenizer, size_t bytes,
                                        std::string_view field, const v1::ModelInfo& model) {
  const size_t at_least = tokenizer.tokenizer().MinTokens(bytes);
  if (at_least < model.context_length()) return std::nullopt;
  return MakeError(kInvalidArgument,
                   fmt::format("{}: has at least {} tokens; the context of model {} is {} tokens, "
                               "prompt and output together",
                               field, at_least, model.id(), model.context_length()),
                   field);
}

}  // namespace

Prepared PreparePrompt(const LoadedTokenizer& tokenizer, const v1::Submit& submit,
                       const v1::ModelInfo& model) {
  Prepared out;
  out.text = tokenizer.text();
  if (submit.has_resume()) {
    out.prompt_ids.assign(submit.resume().prompt_ids().begin(), submit.resume().prompt_ids().end());
  } else {
    switch (submit.input_case()) {
      case v1::Submit::kPrompt:
        out.error = TooLong(tokenizer, submit.prompt().size(), "prompt", model);
        if (!out.error) out.prompt_ids = tokenizer.EncodePrompt(submit.prompt());
        break;
      case v1::Submit::kChat: {
        size_t bytes = 0;
        for (const v1::ChatMessage& m : submit.chat().messages()) bytes += m.content().size();
        out.error = TooLong(tokenizer, bytes, "messages", model);
        if (out.error) break;
        auto ids = tokenizer.EncodeChat(submit.chat(), true);
        if (ids.ok()) {
          out.prompt_ids = *std::move(ids);
        } else {
          out.error = MakeError(kInvalidArgument, std::string(Message(ids.status())), "messages");
        }
        break;
      }
      case v1::Submit::kTokens:
        out.prompt_ids.assign(submit.tokens().ids().begin(), submit.tokens().ids().end());
        break;
      case v1::Submit::kFillIn: {
        // A part of the context stays free for the answer, whatever max_tokens is.
        const uint32_t context = model.context_length();
        const uint32_t answer =
            std::clamp(submit.sampling().max_tokens(), 1u, std::max(1u, context / 4));
        auto prompt = tokenizer.EncodeFillIn(submit.fill_in(), context - std::min(context, answer));
        if (!prompt.ok()) {
          out.error = MakeError(kInvalidArgument, std::string(Message(prompt.status())), "suffix");
          break;
        }
        out.prompt_ids.assign(prompt->ids.begin(), prompt->ids.end());
        out.truncated = prompt->truncated;
        break;
      }
      case v1::Submit::INPUT_NOT_SET:
        out.error = MakeError(kInvalidArgument, "prompt: nothing to run", "prompt");
        break;
    }
  }
  if (submit.has_fill_in()) {
    for (const int32_t id : tokenizer.fim().StopIds()) {
      out.stop_ids.push_back(static_cast<uint32_t>(id));
    }
  }
  if (!out.error) {
    const std::vector<int32_t> ids(out.prompt_ids.begin(), out.prompt_ids.end());
    out.prefix = kv::PrefixHasher(model.numerics_class()).Chain(submit.kv_salt(), ids);
  }
  return out;
}

PromptPreparer::PromptPreparer(TokenizerStore& store, size_t threads, size_t queue, Done done)
    : store_(store), done_(std::move(done)), pool_("tokenize", threads, queue) {}

bool PromptPreparer::HasTokenizer(const v1::ModelInfo& model) const {
  return store_.Find(model.tokenizer_sha256()) != nullptr;
}

bool PromptPreparer::Prepare(uint64_t request, std::shared_ptr<const v1::Submit> submit,
                             const v1::ModelInfo& model) {
  auto tokenizer = store_.Find(model.tokenizer_sha256());
  if (tokenizer == nullptr) return false;
  return pool_.TrySubmit([this, request, submit = std::move(submit),
                          tokenizer = std::move(tokenizer),
                          model] { done_(request, PreparePrompt(*tokenizer, *submit, model)); });
}

}  // namespace weft::scheduler
