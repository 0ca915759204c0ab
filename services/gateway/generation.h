// The life of one request in the gateway: scan the prompt, submit, hold text back, hand it out,
// settle.
//
//   Start ─► prompt scan ─► submit n sequences ─► deltas ─► gate ─► sink ─► done
//                 └ refused                          └ blocked, cancelled, failed ┘
#pragma once

#include <absl/status/status.h>

#include <chrono>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "libs/base/clock.h"
#include "libs/identity/principal.h"
#include "libs/scan/policy.h"
#include "libs/telemetry/tracer.h"
#include "services/gateway/account.h"
#include "services/gateway/generation_request.h"
#include "services/gateway/metrics.h"
#include "services/gateway/output_gate.h"
#include "services/gateway/scanner_client.h"
#include "services/gateway/scheduler_client.h"

namespace weft::gateway {

struct ScanSettings {
  scan::Policy policy;
  bool fail_open = true;                     // what happens to text that the scanner cannot look at
  std::chrono::milliseconds timeout{5'000};  // for one verdict
};

// What generations need; all outlive them.
struct GenerationDeps {
  SchedulerClient* scheduler = nullptr;
  ScannerClient* scanner = nullptr;  // nullptr: nothing is scanned
  const ScanSettings* scan = nullptr;
  Metrics* metrics = nullptr;
  telemetry::Tracer* tracer = nullptr;
  Clock* clock = nullptr;
  std::chrono::milliseconds request_timeout{600'000};
  bool salt_by_tenant = false;                    // tenants never share cached prefixes
  std::span<const std::string> idle_models = {};  // that exist also when nobody serves them
};

struct ChoiceEnd {
  uint32_t choice = 0;
  v1::FinishReason reason = v1::FINISH_REASON_UNSPECIFIED;
  std::string stop_string;
  bool prompt_truncated = false;
  uint32_t prompt_tokens = 0;
  uint32_t cached_prompt_tokens = 0;
  uint32_t completion_tokens = 0;
  std::chrono::milliseconds prompt_time{0};  // of the queue and the prompt
  std::chrono::milliseconds output_time{0};
  const scan::Finding* blocked_by = nullptr;  // with CONTENT_FILTER
  std::span<const scan::Finding> findings;    // of the output, that the policy reports
};

struct Totals {
  v1::Usage usage;
  std::string model_version;
  std::span<const scan::Finding> prompt_findings;
  bool prompt_redacted = false;
  bool prompt_sanitized = false;
  std::chrono::nanoseconds duration{0};
};

// What makes an answer of it. Called under the generation's lock: must not block, and must not call
// the generation. After OnDone or OnFailed nothing comes.
class GenerationSink {
 public:
  virtual ~GenerationSink() = default;
  // The request was admitted; output comes from now on.
  virtual void OnBegin(const Totals& so_far) = 0;
  // A choice's prompt as the model's tokens spell it, when the request wants its text. Before its
  // other calls.
  virtual void OnPromptText(uint32_t /*choice*/, std::string_view /*text*/) {}
  // Of the prompt's tokens, in order; before the choice's pieces.
  virtual void OnPromptLogprobs(uint32_t /*choice*/,
                                std::span<const v1::TokenLogprob* const> /*entries*/) {}
  virtual void OnPiece(uint32_t choice, const OutputGate::Piece& piece) = 0;
  virtual void OnChoiceEnd(const ChoiceEnd& end) = 0;
  virtual void OnDone(const Totals& totals) = 0;
  // Before OnBegin: the whole answer is this error. After it: the answer is cut.
  virtual void OnFailed(const absl::Status& status) = 0;
};

// Thread safe.
class Generation final : public std::enable_shared_from_this<Generation> {
 public:
  static std::shared_ptr<Generation> Create(const GenerationDeps& deps, GenerationRequest request,
                                            std::string request_id,
                                            identity::PrincipalPtr principal,
                                            const telemetry::SpanContext& parent,
                                            std::unique_ptr<GenerationSink> sink,
                                            std::shared_ptr<Account> account);
  ~Generation();

  // Call once.
  void Start();
  // The client is gone: everything downstream is cancelled, the sink is not called any more.
  void Cancel(std::string_view reason);
  // Ends it with an error, as OnFailed.
  void Fail(const absl::Status& status);
  // Ends waits that took too long. Called several times a second.
  void Tick();

  const GenerationRequest& request() const { return request_; }
  const std::string& request_id() const { return request_id_; }

 private:
  class Sequence;
  struct Choice;

  Generation(const GenerationDeps& deps, GenerationRequest request, std::string request_id,
             identity::PrincipalPtr principal, const telemetry::SpanContext& parent,
             std::unique_ptr<GenerationSink> sink, std::shared_ptr<Account> account);

  void ScanPrompt();
  void OnPromptScanned(absl::StatusOr<std::vector<scan::Finding>> findings);
  // Ids of the prompt rules whose matches may stay, when others' are to be removed; else nullopt.
  absl::StatusOr<std::optional<std::vector<std::string>>> JudgePromptLocked(
      std::vector<scan::Finding> findings);
  void SanitizePrompt(std::vector<std::string> keep_rules);
  void OnPromptSanitized(absl::StatusOr<std::vector<std::string>> parts);
  // False: the request has ended with an error. True: the policy lets what the scanner could not
  // look at pass.
  bool PromptScanFailedLocked(const absl::Status& status);
  void SubmitLocked();
  void OnAccepted(uint32_t choice, const v1::Accepted& accepted);
  void OnPromptLogprobs(uint32_t choice, std::span<const v1::TokenLogprob* const> entries);
  void OnDelta(uint32_t choice, const Delta& delta);
  void OnFinished(uint32_t choice, const v1::Finished& finished);
  void OnVerdict(uint32_t choice, uint64_t clear, std::vector<scan::Finding> findings, bool closed);
  void OnScanFailed(uint32_t choice, const absl::Status& status);
  void ScannerLostLocked(Choice& choice);

  void BeginLocked();
  void PumpLocked(Choice& choice);
  void EndChoiceLocked(Choice& choice, v1::FinishReason reason);
  void ReleaseLocked(Choice& choice);  // the scheduler and scanner forget it
  void FailLocked(const absl::Status& status);
  void SettleLocked(std::string_view outcome, const absl::Status& status);
  Totals TotalsLocked() const;
  void TellProgressLocked();
  // Before the answer ends: what was used must be known by then.
  void CloseAccountLocked(std::string_view outcome);
  void CountFindings(scan::TextKind kind, std::span<const scan::Finding> findings);

  const GenerationDeps deps_;
  GenerationRequest request_;
  const std::string request_id_;
  const identity::PrincipalPtr principal_;
  const telemetry::SpanContext parent_;
  const SteadyTime arrived_;
  const scan::TextKind output_kind_;

  std::mutex mutex_;
  std::unique_ptr<GenerationSink> sink_;
  const std::shared_ptr<Account> account_;  // nullptr: nobody counts
  telemetry::Span scan_span_;
  telemetry::Span schedule_span_;
  bool begun_ = false;
  bool over_ = false;
  bool first_text_ = false;
  std::optional<SteadyTime> scanning_since_;
  std::vector<std::unique_ptr<Choice>> choices_;
  uint32_t open_choices_ = 0;
  std::vector<scan::Finding> prompt_findings_;
  bool prompt_redacted_ = false;
  int prompt_cleanings_ = 0;
  std::string model_version_;
};

}  // namespace weft::gateway
