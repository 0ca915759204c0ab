#include "services/gateway/infill_sink.h"

#include <nlohmann/json.hpp>
#include <utility>
#include <vector>

#include "services/gateway/api_error.h"
#include "services/gateway/openai_json.h"
#include "services/gateway/openai_sink.h"

namespace weft::gateway {
namespace {

using Json = nlohmann::ordered_json;

std::string Dump(const Json& json) {
  return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

double PerSecond(uint32_t tokens, std::chrono::milliseconds time) {
  return time.count() > 0 ? tokens * 1e3 / static_cast<double>(time.count()) : 0.0;
}
double PerToken(uint32_t tokens, std::chrono::milliseconds time) {
  return tokens > 0 ? static_cast<double>(time.count()) / tokens : 0.0;
}

// The members of an answer that is complete, `content` and `tokens` apart.
Json Facts(const std::string& model, const ChoiceEnd& end) {
  const uint32_t computed =
      end.prompt_tokens - std::min(end.prompt_tokens, end.cached_prompt_tokens);
  Json out;
  out["stop"] = true;
  out["model"] = model;
  out["tokens_predicted"] = end.completion_tokens;
  out["tokens_evaluated"] = end.prompt_tokens;
  out["truncated"] = end.prompt_truncated;
  out["stop_type"] = end.reason == v1::FINISH_REASON_LENGTH ? "limit"
                     : end.reason != v1::FINISH_REASON_STOP ? "none"
                     : end.stop_string.empty()              ? "eos"
                                                            : "word";
  out["stopping_word"] = end.stop_string;
  out["tokens_cached"] = end.prompt_tokens + end.completion_tokens;
  out["timings"] = {{"cache_n", end.cached_prompt_tokens},
                    {"prompt_n", computed},
                    {"prompt_ms", end.prompt_time.count()},
                    {"prompt_per_token_ms", PerToken(computed, end.prompt_time)},
                    {"prompt_per_second", PerSecond(computed, end.prompt_time)},
                    {"predicted_n", end.completion_tokens},
                    {"predicted_ms", end.output_time.count()},
                    {"predicted_per_token_ms", PerToken(end.completion_tokens, end.output_time)},
                    {"predicted_per_second", PerSecond(end.completion_tokens, end.output_time)}};
  const std::string weft = WeftExtension(end.findings, end.blocked_by);
  if (!weft.empty()) out["weft"] = Json::parse(weft, nullptr, false);
  return out;
}

// Only the members that were asked for: "a/b" is the member b of a, under that whole name.
Json Chosen(const std::vector<std::string>& fields, Json all) {
  if (fields.empty()) return all;
  Json out = Json::object();
  for (const std::string& field : fields) {
    const Json* at = &all;
    for (size_t begin = 0; at != nullptr && begin <= field.size();) {
      const size_t slash = std::min(field.find('/', begin), field.size());
      const auto member =
          at->is_object() ? at->find(field.substr(begin, slash - begin)) : at->end();
      at = at->is_object() && member != at->end() ? &*member : nullptr;
      begin = slash + 1;
    }
    if (at != nullptr) out[field] = *at;
  }
  return out;
}

class InfillWholeSink final : public GenerationSink {
 public:
  InfillWholeSink(const Call& call, const GenerationRequest& request)
      : call_(call),
        model_(request.submit.model()),
        fields_(request.response_fields),
        answers_(request.sequences()) {}

  void OnBegin(const Totals&) override {}
  void OnPiece(uint32_t choice, const OutputGate::Piece& piece) override {
    Answer& answer = answers_[choice];
    answer.text += piece.text;
    answer.tokens.insert(answer.tokens.end(), piece.token_ids.begin(), piece.token_ids.end());
  }
  void OnChoiceEnd(const ChoiceEnd& end) override {
    answers_[end.choice].facts = Facts(model_, end);
  }
  void OnDone(const Totals& totals) override {
    Json all = Json::array();
    for (size_t i = 0; i < answers_.size(); ++i) {
      Json one;
      one["index"] = i;
      one["content"] = answers_[i].text;
      one["tokens"] = answers_[i].tokens;
      one["has_new_line"] = answers_[i].text.find('\n') != std::string::npos;
      one.update(answers_[i].facts);
      all.push_back(Chosen(fields_, std::move(one)));
    }
    http::Response response = http::Response::Json(200, Dump(all.size() == 1 ? all[0] : all));
    if (!totals.prompt_findings.empty()) response.headers.Add("X-Weft-Scan", "flagged");
    call_.Send(std::move(response));
  }
  void OnFailed(const absl::Status& status) override { call_.Fail(status); }

 private:
  struct Answer {
    std::string text;
    std::vector<uint32_t> tokens;
    Json facts;
  };
  const Call call_;
  const std::string model_;
  const std::vector<std::string> fields_;
  std::vector<Answer> answers_;
};

class InfillStreamSink final : public GenerationSink {
 public:
  InfillStreamSink(const Call& call, const GenerationRequest& request,
                   std::shared_ptr<std::atomic<bool>> abandoned)
      : call_(call),
        model_(request.submit.model()),
        fields_(request.response_fields),
        new_line_(request.sequences()),
        abandoned_(std::move(abandoned)) {}

  void OnBegin(const Totals& so_far) override {
    begun_ = true;
    http::Response head = EventStreamHead(so_far);
    if (call_.StartStream(std::move(head))) return;
    abandoned_->store(true);
    if (!call_.exchange().closed()) call_.Send(TooManyStreams());
  }
  void OnPiece(uint32_t choice, const OutputGate::Piece& piece) override {
    if (piece.text.empty()) return;
    if (piece.text.find('\n') != std::string::npos) new_line_[choice] = true;
    call_.exchange().Write(Event(Dump({{"index", choice},
                                       {"content", piece.text},
                                       {"tokens", piece.token_ids},
                                       {"stop", false}})));
  }
  void OnChoiceEnd(const ChoiceEnd& end) override {
    Json last = {{"index", end.choice}, {"content", ""}, {"tokens", Json::array()}};
    last["has_new_line"] = static_cast<bool>(new_line_[end.choice]);
    last.update(Facts(model_, end));
    call_.exchange().Write(Event(Dump(Chosen(fields_, std::move(last)))));
  }
  void OnDone(const Totals&) override { call_.exchange().End(); }
  void OnFailed(const absl::Status& status) override {
    if (!begun_) return call_.Fail(status);
    call_.exchange().Write(Event(ErrorBody(ToApiError(status))));
    call_.exchange().End();
  }

 private:
  const Call call_;
  const std::string model_;
  const std::vector<std::string> fields_;
  std::vector<bool> new_line_;
  bool begun_ = false;
  const std::shared_ptr<std::atomic<bool>> abandoned_;
};

}  // namespace

std::unique_ptr<GenerationSink> NewInfillSink(const Call& call, const GenerationRequest& request,
                                              std::shared_ptr<std::atomic<bool>> abandoned) {
  if (request.stream) {
    return std::make_unique<InfillStreamSink>(call, request, std::move(abandoned));
  }
  return std::make_unique<InfillWholeSink>(call, request);
}

}  // namespace weft::gateway
