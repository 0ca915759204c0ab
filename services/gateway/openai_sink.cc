#include "services/gateway/openai_sink.h"

#include <nlohmann/json.hpp>
#include <utility>
#include <vector>

#include "services/gateway/api_error.h"
#include "services/gateway/openai_json.h"

namespace weft::gateway {
namespace {

AnswerFacts FactsOf(const GenerationRequest& request, int64_t created) {
  AnswerFacts facts;
  facts.chat = request.kind == ApiKind::kChat;
  facts.stream = request.stream;
  facts.include_usage = request.include_usage;
  facts.id = NewAnswerId(facts.chat);
  facts.created = created;
  facts.model = request.submit.model();
  return facts;
}

class StreamSink final : public GenerationSink {
 public:
  StreamSink(const Call& call, const GenerationRequest& request, int64_t created,
             std::shared_ptr<std::atomic<bool>> abandoned)
      : call_(call),
        facts_(FactsOf(request, created)),
        with_logprobs_(request.submit.sampling().logprobs()),
        echo_(request.echo ? request.submit.prompt() : std::string()),
        offsets_(request.choices, request.submit.prompt().size()),
        abandoned_(std::move(abandoned)) {}

  void OnBegin(const Totals& so_far) override {
    begun_ = true;
    facts_.model_version = so_far.model_version;
    http::Response head;
    head.headers.Add("Content-Type", "text/event-stream; charset=utf-8");
    head.headers.Add("Cache-Control", "no-cache");
    head.headers.Add("X-Accel-Buffering", "no");  // proxies must not gather events
    if (!so_far.prompt_findings.empty()) head.headers.Add("X-Weft-Scan", "flagged");
    for (uint32_t i = 0; i < offsets_.size(); ++i) {
      if (facts_.chat) head.body += Event(RoleChunk(facts_, i));
      if (!echo_.empty()) head.body += Event(TextChunk(facts_, i, echo_, {}, false, 0));
    }
    if (call_.StartStream(std::move(head))) return;
    abandoned_->store(true);
    if (!call_.exchange().closed()) {
      call_.Send(ServerError(503, "too_many_streams",
                             "The server has too many streams. Please try again."));
    }
  }

  void OnPiece(uint32_t choice, const OutputGate::Piece& piece) override {
    const uint64_t offset = offsets_[choice];
    offsets_[choice] += piece.text.size();
    // A token without text (half a character, an end token) says nothing yet.
    if (piece.text.empty() && (!with_logprobs_ || piece.logprobs.empty())) return;
    call_.exchange().Write(
        Event(TextChunk(facts_, choice, piece.text, piece.logprobs, with_logprobs_, offset)));
  }

  void OnChoiceEnd(const ChoiceEnd& end) override {
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
  const Call call_;
  AnswerFacts facts_;
  const bool with_logprobs_;
  const std::string echo_;
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
      : WholeSink(call, request.choices), facts_(FactsOf(request, created)) {
    for (WholeChoice& choice : choices_) {
      choice.with_logprobs = request.submit.sampling().logprobs();
      choice.text_offset = request.submit.prompt().size();
      if (request.echo) choice.text = request.submit.prompt();
    }
  }
  void OnDone(const Totals& totals) override {
    facts_.model_version = totals.model_version;
    call_.Send(
        Json(totals, WholeAnswer(facts_, choices_, totals.usage, WeftPromptExtension(totals))));
  }

 private:
  AnswerFacts facts_;
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

std::unique_ptr<GenerationSink> NewOpenAiSink(const Call& call, const GenerationRequest& request,
                                              int64_t created,
                                              std::shared_ptr<std::atomic<bool>> abandoned) {
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
