#include "services/gateway/prompt_keeper.h"

#include <nlohmann/json.hpp>
#include <utility>
#include <vector>

#include "libs/base/status.h"
#include "libs/telemetry/log.h"
#include "services/gateway/prompt_text.h"

namespace weft::gateway {
namespace {

using nlohmann::ordered_json;

const telemetry::Logger kLog("gateway.prompts");

// The prompt's texts together, and each answer, have at most so many bytes; what is cut says so.
struct Bound {
  uint64_t left;
  bool cut = false;
  std::string Take(std::string_view text) {
    if (text.size() > left) cut = true;
    const std::string_view taken = text.substr(0, left);
    left -= taken.size();
    return std::string(taken);
  }
};

ordered_json PromptOf(const GenerationRequest& request, Bound& bound) {
  ordered_json out = ordered_json::array();
  if (request.submit.has_chat()) {
    for (const v1::ChatMessage& message : request.submit.chat().messages()) {
      out.push_back({{"role", message.role()}, {"content", bound.Take(message.content())}});
    }
    return out;
  }
  GenerationRequest copy = request;
  for (const std::string* part : PromptParts(copy)) out.push_back(bound.Take(*part));
  return out;
}

}  // namespace

class PromptKeeper::Sink final : public GenerationSink {
 public:
  Sink(PromptKeeper& keeper, std::unique_ptr<GenerationSink> sink, store::KeptPrompt kept,
       ordered_json record, Bound prompt_bound)
      : keeper_(keeper),
        sink_(std::move(sink)),
        kept_(std::move(kept)),
        record_(std::move(record)),
        cut_(prompt_bound.cut) {}
  ~Sink() override { Keep("cancelled"); }

  void OnBegin(const Totals& so_far) override { sink_->OnBegin(so_far); }
  void OnPromptText(uint32_t choice, std::string_view text) override {
    sink_->OnPromptText(choice, text);
  }
  void OnPromptLogprobs(uint32_t choice,
                        std::span<const v1::TokenLogprob* const> entries) override {
    sink_->OnPromptLogprobs(choice, entries);
  }
  void OnPiece(uint32_t choice, const OutputGate::Piece& piece) override {
    while (answers_.size() <= choice) {
      answers_.emplace_back();
      bounds_.push_back({keeper_.config_.max_bytes});
    }
    answers_[choice] += bounds_[choice].Take(piece.text);
    sink_->OnPiece(choice, piece);
  }
  void OnChoiceEnd(const ChoiceEnd& end) override {
    if (end.reason == v1::FINISH_REASON_CONTENT_FILTER) blocked_ = true;
    sink_->OnChoiceEnd(end);
  }
  void OnDone(const Totals& totals) override {
    Keep(blocked_ ? "blocked" : "done");
    sink_->OnDone(totals);
  }
  void OnFailed(const absl::Status& status) override {
    Keep("failed");
    sink_->OnFailed(status);
  }

 private:
  void Keep(std::string_view outcome) {
    if (std::exchange(kept_already_, true)) return;
    bool cut = cut_;
    for (const Bound& bound : bounds_) cut = cut || bound.cut;
    record_["answers"] = answers_;
    record_["outcome"] = outcome;
    record_["cut"] = cut;
    kept_.text = record_.dump(-1, ' ', false, ordered_json::error_handler_t::replace);
    const std::string id = kept_.request_id;
    const auto lost = [id](const absl::Status& status) {
      if (status.ok()) return;
      kLog.Warning("a prompt was not kept", {{"request_id", id}, {"exception", status}});
    };
    if (!keeper_.writer_.Add(std::move(kept_), lost)) {
      lost(ResourceExhausted("too many wait for the database"));
    }
  }

  PromptKeeper& keeper_;
  const std::unique_ptr<GenerationSink> sink_;
  store::KeptPrompt kept_;
  ordered_json record_;
  const bool cut_;
  std::vector<std::string> answers_;
  std::vector<Bound> bounds_;
  bool blocked_ = false;
  bool kept_already_ = false;
};

PromptKeeper::PromptKeeper(std::shared_ptr<store::Database> database,
                           const store::SecretStore& secrets, const FollowedPolicies& policies,
                           PromptConfig config, Clock& clock)
    : database_(std::move(database)),
      secrets_(secrets),
      policies_(policies),
      config_(config),
      clock_(clock),
      writer_(
          [this](const std::vector<store::KeptPrompt>& rows, bool) {
            return database_->Write(store::Scope::System(), [&](store::Session& session) {
              return store::AddPrompts(session, secrets_, rows);
            });
          },
          {.capacity = 512, .batch = 64}) {}

int64_t PromptKeeper::DaysOf(std::string_view tenant) const {
  if (!secrets_.available()) return 0;
  return policies_.now()->Of(tenant).prompt_days.value_or(config_.days);
}

std::unique_ptr<GenerationSink> PromptKeeper::Watch(std::unique_ptr<GenerationSink> sink,
                                                    const Origin& origin,
                                                    const GenerationRequest& request) {
  if (origin.principal == nullptr || DaysOf(origin.principal->tenant) == 0) return sink;
  const identity::Principal& who = *origin.principal;
  const WallTime now = clock_.Wall();
  Bound bound{config_.max_bytes};
  store::KeptPrompt kept;
  kept.tenant = who.tenant;
  kept.request_id = origin.request_id;
  kept.user_id = request.user.empty() ? who.subject : request.user;
  kept.at = UnixSeconds(now);
  ordered_json record = {{"request_id", kept.request_id},
                         {"user", kept.user_id},
                         {"key_id", who.key_id},
                         {"endpoint", origin.endpoint},
                         {"model", request.submit.model()},
                         {"created_at", kept.at}};
  record["prompt"] = PromptOf(request, bound);
  return std::make_unique<Sink>(*this, std::move(sink), std::move(kept), std::move(record), bound);
}

}  // namespace weft::gateway
