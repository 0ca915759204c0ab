#include "services/gateway/openai_sink.h"

#include <algorithm>
#include <limits>
#include <nlohmann/json.hpp>
#include <numeric>
#include <utility>
#include <vector>

#include "libs/scan/policy.h"
#include "services/gateway/api_error.h"
#include "services/gateway/infill_sink.h"
#include "services/gateway/openai_json.h"

namespace weft::gateway {
namespace {

// What text_offset counts, which only log probabilities show.
uint64_t Offset(bool with_logprobs, std::string_view text) {
  return with_logprobs ? scan::CountCharacters(text) : 0;
}

std::string_view ServiceTier(int32_t priority) {
  if (priority == 0) return "default";
  return priority < 0 ? "flex" : "priority";
}

AnswerFacts FactsOf(const GenerationRequest& request, int64_t created) {
  AnswerFacts facts;
  facts.chat = request.kind == ApiKind::kChat;
  facts.stream = request.stream;
  facts.include_usage = request.include_usage;
  facts.id = NewAnswerId(facts.chat);
  facts.created = created;
  facts.model = request.submit.model();
  if (request.show_service_tier) facts.service_tier = ServiceTier(request.submit.priority());
  return facts;
}

double MeanLogprob(const WholeChoice& choice) {
  if (choice.logprobs.empty()) return -std::numeric_limits<double>::infinity();
  double sum = 0;
  for (const v1::TokenLogprob& entry : choice.logprobs) sum += entry.logprob();
  return sum / static_cast<double>(choice.logprobs.size());
}

class StreamSink final : public GenerationSink {
 public:
  StreamSink(const Call& call, const GenerationRequest& request, int64_t created,
             std::shared_ptr<std::atomic<bool>> abandoned)
      : call_(call),
        facts_(FactsOf(request, created)),
        with_logprobs_(request.show_logprobs),
        echoes_(request.sequences()),
        offsets_(request.sequences()),
        abandoned_(std::move(abandoned)) {
    for (uint32_t i = 0; i < request.sequences(); ++i) {
      const std::string& prompt = request.PromptText(i / request.best_of);
      offsets_[i] = Offset(with_logprobs_, prompt);
      echoes_[i].wanted = request.echo;
      if (request.echo) echoes_[i].text = prompt;
    }
  }

  void OnBegin(const Totals& so_far) override {
    begun_ = true;
    facts_.model_version = so_far.model_version;
    http::Response head = EventStreamHead(so_far);
    for (uint32_t i = 0; i < offsets_.size(); ++i) {
      if (facts_.chat) head.body += Event(RoleChunk(facts_, i));
    }
    if (call_.StartStream(std::move(head))) return;
    abandoned_->store(true);
    if (!call_.exchange().closed()) call_.Send(TooManyStreams());
  }

  void OnPromptText(uint32_t choice, std::string_view text) override {
    Echo& echo = echoes_[choice];
    if (!echo.text.empty()) return;
    echo.text = text;  // a prompt of token ids
    offsets_[choice] = Offset(with_logprobs_, text);
  }

  void OnPromptLogprobs(uint32_t choice,
                        std::span<const v1::TokenLogprob* const> entries) override {
    for (const v1::TokenLogprob* entry : entries) echoes_[choice].logprobs.push_back(*entry);
  }

  void OnPiece(uint32_t choice, const OutputGate::Piece& piece) override {
    WriteEcho(choice);
    const uint64_t offset = offsets_[choice];
    offsets_[choice] += Offset(with_logprobs_, piece.text);
    // A token without text (half a character, an end token) says nothing yet.
    if (piece.text.empty() && (!with_logprobs_ || piece.logprobs.empty())) return;
    call_.exchange().Write(
        Event(TextChunk(facts_, choice, piece.text, piece.logprobs, with_logprobs_, offset)));
  }

  void OnChoiceEnd(const ChoiceEnd& end) override {
    WriteEcho(end.choice);
    call_.exchange().Write(Event(FinishChunk(facts_, end)));
  }

  void OnDone(const Totals& totals) override {
    std::string tail;
    if (facts_.include_usage) tail = Event(UsageChunk(facts_, totals.usage));
    tail += "data: [DONE]\n\n";
    call_.exchange().Write(tail);
    call_.exchange().End();
  }

  void OnFailed(const absl::Status& status) override {
    if (!begun_) return call_.Fail(status);
    // The head is out: the error is an event, as OpenAI's clients expect it.
    call_.exchange().Write(Event(ErrorBody(ToApiError(status))));
    call_.exchange().End();
  }

 private:
  // The prompt before a choice's text, until it is written.
  struct Echo {
    bool wanted = false;
    std::string text;
    std::vector<v1::TokenLogprob> logprobs;
  };

  // With the first output: by then the prompt's log probabilities are there.
  void WriteEcho(uint32_t choice) {
    if (!std::exchange(echoes_[choice].wanted, false)) return;
    const Echo echo = std::move(echoes_[choice]);
    call_.exchange().Write(
        Event(TextChunk(facts_, choice, echo.text, echo.logprobs, with_logprobs_, 0)));
  }

  const Call call_;
  AnswerFacts facts_;
  const bool with_logprobs_;
  std::vector<Echo> echoes_;
  std::vector<uint64_t> offsets_;
  bool begun_ = false;
  const std::shared_ptr<std::atomic<bool>> abandoned_;
};

// Gathers the choices and answers once.
class WholeSink : public GenerationSink {
 public:
  WholeSink(const Call& call, uint32_t choices) : call_(call), choices_(choices) {}

  void OnBegin(const Totals&) override {}
  void OnPiece(uint32_t index, const OutputGate::Piece& piece) override {
    WholeChoice& choice = choices_[index];
    choice.text += piece.text;
    choice.logprobs.insert(choice.logprobs.end(), piece.logprobs.begin(), piece.logprobs.end());
  }
  void OnChoiceEnd(const ChoiceEnd& end) override {
    choices_[end.choice].reason = end.reason;
    choices_[end.choice].weft = WeftExtension(end.findings, end.blocked_by);
  }
  void OnFailed(const absl::Status& status) override { call_.Fail(status); }

 protected:
  http::Response Json(const Totals& totals, std::string body) {
    http::Response response = http::Response::Json(200, std::move(body));
    if (!totals.prompt_findings.empty()) response.headers.Add("X-Weft-Scan", "flagged");
    return response;
  }

  const Call call_;
  std::vector<WholeChoice> choices_;
};

class OpenAiWholeSink final : public WholeSink {
 public:
  OpenAiWholeSink(const Call& call, const GenerationRequest& request, int64_t created)
      : WholeSink(call, request.sequences()),
        facts_(FactsOf(request, created)),
        n_(request.choices),
        best_of_(request.best_of),
        echo_(request.echo),
        echoed_(request.sequences()) {
    for (uint32_t i = 0; i < request.sequences(); ++i) {
      WholeChoice& choice = choices_[i];
      choice.with_logprobs = request.show_logprobs;
      echoed_[i] = request.PromptText(i / best_of_);
      choice.text_offset = Offset(choice.with_logprobs, echoed_[i]);
    }
  }
  void OnPromptText(uint32_t index, std::string_view text) override {
    if (!echoed_[index].empty()) return;
    echoed_[index] = text;  // a prompt of token ids
    choices_[index].text_offset = Offset(choices_[index].with_logprobs, text);
  }
  void OnPromptLogprobs(uint32_t index, std::span<const v1::TokenLogprob* const> entries) override {
    for (const v1::TokenLogprob* entry : entries) choices_[index].prompt_logprobs.push_back(*entry);
  }
  void OnDone(const Totals& totals) override {
    facts_.model_version = totals.model_version;
    KeepBest();
    for (size_t i = 0; i < choices_.size(); ++i) {
      if (echo_) choices_[i].text.insert(0, echoed_[i]);
      if (choices_[i].prompt_logprobs.empty()) continue;
      choices_[i].text_offset = 0;
      std::vector<v1::TokenLogprob>& prompt = choices_[i].prompt_logprobs;
      prompt.insert(prompt.end(), choices_[i].logprobs.begin(), choices_[i].logprobs.end());
      choices_[i].logprobs.swap(prompt);
    }
    call_.Send(
        Json(totals, WholeAnswer(facts_, choices_, totals.usage, WeftPromptExtension(totals))));
  }

 private:
  // Of best_of choices of each prompt, the n whose tokens are the likeliest on average.
  void KeepBest() {
    if (n_ == best_of_) return;
    std::vector<WholeChoice> kept;
    std::vector<std::string> echoed;
    for (size_t begin = 0; begin < choices_.size(); begin += best_of_) {
      std::vector<size_t> order(best_of_);
      std::iota(order.begin(), order.end(), begin);
      std::stable_sort(order.begin(), order.end(), [this](size_t a, size_t b) {
        return MeanLogprob(choices_[a]) > MeanLogprob(choices_[b]);
      });
      for (uint32_t i = 0; i < n_; ++i) {
        kept.push_back(std::move(choices_[order[i]]));
        echoed.push_back(std::move(echoed_[order[i]]));
      }
    }
    choices_.swap(kept);
    echoed_.swap(echoed);
  }

  AnswerFacts facts_;
  const uint32_t n_;
  const uint32_t best_of_;
  const bool echo_;
  std::vector<std::string> echoed_;  // the prompts, by choice
};

nlohmann::ordered_json Parsed(const std::string& json) {
  return nlohmann::ordered_json::parse(json, nullptr, false);
}

class GenerateSink final : public WholeSink {
 public:
  explicit GenerateSink(const Call& call) : WholeSink(call, 1) {}
  void OnDone(const Totals& totals) override {
    nlohmann::ordered_json body;
    body["generated_code"] = choices_[0].text;
    body["tokens_generated"] = totals.usage.completion_tokens();
    body["generation_time_ms"] = Millis(totals.duration);
    body["model_version"] = totals.model_version;
    body["finish_reason"] = FinishReasonName(choices_[0].reason);
    if (!choices_[0].weft.empty()) body["weft"] = Parsed(choices_[0].weft);
    call_.Send(Json(totals, body.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace)));
  }
};

class PredictSink final : public WholeSink {
 public:
  explicit PredictSink(const Call& call) : WholeSink(call, 1) {}
  void OnDone(const Totals& totals) override {
    nlohmann::ordered_json body;
    body["prediction"] = choices_[0].text;
    body["request_id"] = call_.context().request_id;
    if (!choices_[0].weft.empty()) body["weft"] = Parsed(choices_[0].weft);
    call_.Send(Json(totals, body.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace)));
  }
};

}  // namespace

http::Response EventStreamHead(const Totals& so_far) {
  http::Response head;
  head.headers.Add("Content-Type", "text/event-stream; charset=utf-8");
  head.headers.Add("Cache-Control", "no-cache");
  head.headers.Add("X-Accel-Buffering", "no");  // proxies must not gather events
  if (!so_far.prompt_findings.empty()) head.headers.Add("X-Weft-Scan", "flagged");
  return head;
}

http::Response TooManyStreams() {
  return ServerError(503, "too_many_streams", "The server has too many streams. Please try again.");
}

std::unique_ptr<GenerationSink> NewOpenAiSink(const Call& call, const GenerationRequest& request,
                                              int64_t created,
                                              std::shared_ptr<std::atomic<bool>> abandoned) {
  if (request.kind == ApiKind::kInfill) {
    return NewInfillSink(call, request, std::move(abandoned));
  }
  if (request.stream) {
    return std::make_unique<StreamSink>(call, request, created, std::move(abandoned));
  }
  return std::make_unique<OpenAiWholeSink>(call, request, created);
}

std::unique_ptr<GenerationSink> NewGenerateSink(const Call& call) {
  return std::make_unique<GenerateSink>(call);
}

std::unique_ptr<GenerationSink> NewPredictSink(const Call& call) {
  return std::make_unique<PredictSink>(call);
}

}  // namespace weft::gateway
