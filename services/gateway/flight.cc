#include "services/gateway/flight.h"

#include <utility>
#include <vector>

namespace weft::gateway {

void Replay(const v1::CachedAnswer& answer, int from, GenerationSink& sink) {
  for (int i = from; i < answer.events_size(); ++i) {
    const v1::CachedEvent& event = answer.events(i);
    switch (event.event_case()) {
      case v1::CachedEvent::kPromptText:
        sink.OnPromptText(event.choice(), event.prompt_text());
        break;
      case v1::CachedEvent::kPromptLogprobs: {
        std::vector<const v1::TokenLogprob*> entries;
        for (const v1::TokenLogprob& entry : event.prompt_logprobs().tokens()) {
          entries.push_back(&entry);
        }
        sink.OnPromptLogprobs(event.choice(), entries);
        break;
      }
      case v1::CachedEvent::kPiece: {
        OutputGate::Piece piece;
        piece.text = event.piece().text();
        piece.token_ids.assign(event.piece().token_ids().begin(), event.piece().token_ids().end());
        piece.logprobs.assign(event.piece().logprobs().begin(), event.piece().logprobs().end());
        sink.OnPiece(event.choice(), piece);
        break;
      }
      case v1::CachedEvent::kEnd: {
        ChoiceEnd end;
        end.choice = event.choice();
        end.reason = event.end().reason();
        end.stop_string = event.end().stop_string();
        end.prompt_truncated = event.end().prompt_truncated();
        end.prompt_tokens = event.end().prompt_tokens();
        end.cached_prompt_tokens = event.end().prompt_tokens();
        end.completion_tokens = event.end().completion_tokens();
        sink.OnChoiceEnd(end);
        break;
      }
      case v1::CachedEvent::EVENT_NOT_SET:
        break;
    }
  }
}

UsedTokens TokensOf(const v1::CachedAnswer& answer) {
  return {.prompt = answer.usage().prompt_tokens(),
          .cached_prompt = answer.usage().prompt_tokens(),
          .completion = answer.usage().completion_tokens()};
}

// What the generation sees of the flight.
class Flight::Recorder final : public GenerationSink {
 public:
  explicit Recorder(std::shared_ptr<Flight> flight) : flight_(std::move(flight)) {}
  void OnBegin(const Totals& so_far) override { flight_->OnBegin(so_far); }
  void OnPromptText(uint32_t choice, std::string_view text) override {
    flight_->OnPromptText(choice, text);
  }
  void OnPromptLogprobs(uint32_t choice,
                        std::span<const v1::TokenLogprob* const> entries) override {
    flight_->OnPromptLogprobs(choice, entries);
  }
  void OnPiece(uint32_t choice, const OutputGate::Piece& piece) override {
    flight_->OnPiece(choice, piece);
  }
  void OnChoiceEnd(const ChoiceEnd& end) override { flight_->OnChoiceEnd(end); }
  void OnDone(const Totals& totals) override { flight_->OnDone(totals); }
  void OnFailed(const absl::Status& status) override { flight_->OnFailed(status); }

 private:
  const std::shared_ptr<Flight> flight_;
};

std::unique_ptr<GenerationSink> Flight::Sink() {
  return std::make_unique<Recorder>(shared_from_this());
}

void Flight::SetGeneration(const std::shared_ptr<Generation>& generation) {
  std::lock_guard lock(mutex_);
  generation_ = generation;
}

std::optional<uint64_t> Flight::Join(Seat& seat) {
  std::lock_guard lock(mutex_);
  if (over_ || !recording_) return std::nullopt;
  if (begun_) {
    Totals so_far;
    so_far.model_version = answer_.model_version();
    seat.sink->OnBegin(so_far);
    Replay(answer_, 0, *seat.sink);
  }
  const uint64_t number = next_seat_++;
  seats_.emplace(number, std::move(seat));
  return number;
}

void Flight::Leave(uint64_t number, std::string_view reason) {
  std::shared_ptr<Generation> alone;
  Seat left;
  {
    std::lock_guard lock(mutex_);
    const auto it = seats_.find(number);
    if (it == seats_.end() || over_) return;
    left = std::move(it->second);
    seats_.erase(it);
    if (seats_.empty()) alone = generation_.lock();
    // Nobody may join what is about to be cancelled.
    if (seats_.empty()) recording_ = false;
  }
  if (left.account)
    left.account->Finish(
        {.tokens = {}, .outcome = "cancelled", .model_version = {}, .from_cache = true});
  if (!alone) return;
  alone->Cancel(reason);
  std::unique_lock lock(mutex_);
  LandLocked(lock, nullptr);
}

void Flight::Tick() {
  std::vector<uint64_t> gone;
  {
    std::lock_guard lock(mutex_);
    for (const auto& [number, seat] : seats_) {
      if (seat.abandoned && seat.abandoned->load()) gone.push_back(number);
    }
  }
  for (const uint64_t number : gone) Leave(number, "no_stream_left");
}

v1::CachedEvent* Flight::RecordLocked(uint32_t choice, size_t bytes) {
  if (!recording_) return nullptr;
  bytes_ += bytes + 16;
  if (bytes_ > max_bytes_) {
    recording_ = false;
    keep_ = false;
    answer_.clear_events();
    return nullptr;
  }
  v1::CachedEvent* event = answer_.add_events();
  event->set_choice(choice);
  return event;
}

void Flight::OnBegin(const Totals& so_far) {
  std::lock_guard lock(mutex_);
  begun_ = true;
  answer_.set_model_version(so_far.model_version);
  for (auto& [number, seat] : seats_) seat.sink->OnBegin(so_far);
}

void Flight::OnPromptText(uint32_t choice, std::string_view text) {
  std::lock_guard lock(mutex_);
  if (auto* event = RecordLocked(choice, text.size())) event->set_prompt_text(std::string(text));
  for (auto& [number, seat] : seats_) seat.sink->OnPromptText(choice, text);
}

void Flight::OnPromptLogprobs(uint32_t choice, std::span<const v1::TokenLogprob* const> entries) {
  std::lock_guard lock(mutex_);
  size_t bytes = 0;
  for (const v1::TokenLogprob* entry : entries) bytes += entry->ByteSizeLong();
  if (auto* event = RecordLocked(choice, bytes)) {
    for (const v1::TokenLogprob* entry : entries) {
      *event->mutable_prompt_logprobs()->add_tokens() = *entry;
    }
  }
  for (auto& [number, seat] : seats_) seat.sink->OnPromptLogprobs(choice, entries);
}

void Flight::OnPiece(uint32_t choice, const OutputGate::Piece& piece) {
  std::lock_guard lock(mutex_);
  size_t bytes = piece.text.size() + piece.token_ids.size() * 4;
  for (const v1::TokenLogprob& entry : piece.logprobs) bytes += entry.ByteSizeLong();
  if (auto* event = RecordLocked(choice, bytes)) {
    v1::CachedPiece& kept = *event->mutable_piece();
    kept.set_text(piece.text);
    kept.mutable_token_ids()->Assign(piece.token_ids.begin(), piece.token_ids.end());
    kept.mutable_logprobs()->Assign(piece.logprobs.begin(), piece.logprobs.end());
  }
  for (auto& [number, seat] : seats_) seat.sink->OnPiece(choice, piece);
}

void Flight::OnChoiceEnd(const ChoiceEnd& end) {
  std::lock_guard lock(mutex_);
  // Blocked text, and text that was found fault with, is judged anew each time.
  if ((end.reason != v1::FINISH_REASON_STOP && end.reason != v1::FINISH_REASON_LENGTH) ||
      end.blocked_by != nullptr || !end.findings.empty()) {
    keep_ = false;
  }
  if (auto* event = RecordLocked(end.choice, end.stop_string.size())) {
    v1::CachedEnd& kept = *event->mutable_end();
    kept.set_reason(end.reason);
    kept.set_stop_string(end.stop_string);
    kept.set_prompt_truncated(end.prompt_truncated);
    kept.set_prompt_tokens(end.prompt_tokens);
    kept.set_completion_tokens(end.completion_tokens);
  }
  for (auto& [number, seat] : seats_) seat.sink->OnChoiceEnd(end);
}

void Flight::LandLocked(std::unique_lock<std::mutex>& lock, const v1::CachedAnswer* answer) {
  over_ = true;
  const Landed landed = std::exchange(landed_, nullptr);
  if (!landed) return;
  lock.unlock();
  landed(answer);
  lock.lock();
}

void Flight::OnDone(const Totals& totals) {
  std::unique_lock lock(mutex_);
  *answer_.mutable_usage() = totals.usage;
  // A prompt that was changed or found fault with is judged anew each time; and another version of
  // the model may have taken the request over.
  const bool keep = keep_ && totals.prompt_findings.empty() && !totals.prompt_redacted &&
                    !totals.prompt_sanitized && totals.model_version == answer_.model_version();
  LandLocked(lock, keep ? &answer_ : nullptr);
  for (auto& [number, seat] : seats_) {
    if (seat.account) {
      seat.account->Finish({.tokens = {.prompt = totals.usage.prompt_tokens(),
                                       .cached_prompt = totals.usage.prompt_tokens(),
                                       .completion = totals.usage.completion_tokens()},
                            .outcome = "shared",
                            .model_version = totals.model_version,
                            .duration = totals.duration,
                            .from_cache = true});
    }
    seat.sink->OnDone(totals);
  }
  seats_.clear();
}

void Flight::OnFailed(const absl::Status& status) {
  std::unique_lock lock(mutex_);
  LandLocked(lock, nullptr);
  for (auto& [number, seat] : seats_) {
    if (seat.account) {
      seat.account->Finish(
          {.tokens = {}, .outcome = "error", .model_version = {}, .from_cache = true});
    }
    seat.sink->OnFailed(status);
  }
  seats_.clear();
}

}  // namespace weft::gateway
