// What workers say: who they are, and the rows and ends of each step.
#include <algorithm>
#include <span>
#include <unordered_set>
#include <utility>

#include "libs/base/status.h"
#include "services/scheduler/dispatcher.h"
#include "services/scheduler/rpc_code.h"

namespace weft::scheduler {
namespace {

// How long a worker that refused work within its credits is left alone.
constexpr std::chrono::milliseconds kRefusalPause{100};

// What a row may add to a log; else what is wrong with it.
std::optional<std::string> CheckRow(const Request& request, const v1::ModelInfo& info,
                                    std::span<const uint32_t> tokens) {
  for (const uint32_t id : tokens) {
    if (id >= info.vocab_size()) {
      return fmt::format("a row with token {} of a vocabulary of {}", id, info.vocab_size());
    }
  }
  if (request.log.size() + tokens.size() > request.sampling.max_tokens()) {
    return fmt::format("a row that makes {} tokens of at most {}",
                       request.log.size() + tokens.size(), request.sampling.max_tokens());
  }
  return std::nullopt;
}

// RowLogprobs or RowPromptLogprobs.
template <typename Logprobs>
std::optional<std::string> CheckLogprobs(const Logprobs& logprobs, const v1::ModelInfo& info) {
  for (const v1::TokenLogprob& l : logprobs.tokens()) {
    const bool beyond = l.token_id() >= info.vocab_size() ||
                        std::any_of(l.top_ids().begin(), l.top_ids().end(),
                                    [&](uint32_t id) { return id >= info.vocab_size(); });
    if (beyond) {
      return fmt::format("log probabilities beyond a vocabulary of {}", info.vocab_size());
    }
  }
  return std::nullopt;
}

void AddTexts(const TokenText& text, v1::TokenLogprob& entry) {
  entry.set_text(std::string(text.Bytes(entry.token_id())));
  for (const uint32_t top : entry.top_ids()) entry.add_top_texts(std::string(text.Bytes(top)));
}

}  // namespace

void Dispatcher::OnWorkerWelcome(uint64_t id, const v1::WorkerWelcome& welcome) {
  now_ = clock_.Now();
  WorkerLink& link = links_[id];
  link.id = id;
  link.worker_id = welcome.worker_id();
  link.block_tokens = std::max(1u, welcome.block_tokens());
  link.last_frame = now_;
  for (const v1::ModelInfo& info : welcome.models()) {
    LinkModel& on_link = link.models[info.id()];
    on_link.info = info;
    on_link.moved = now_;
    const auto stood = standstills_.find({link.worker_id, info.id()});
    if (stood != standstills_.end()) on_link.stands = stood->second;
    std::unique_ptr<Model>& model = models_[info.id()];
    if (model == nullptr) {
      batching::FairQueueOptions queue;
      queue.max_items = options_.queue_capacity;
      queue.max_items_per_key = options_.queue_capacity_per_tenant;
      model = std::make_unique<Model>(info.id(), queue);
    }
    model->info = info;
  }
  ports_.observer->WorkerReady(link.worker_id, welcome);
  OnTokenizer({});  // parked requests may know their model now
}

void Dispatcher::OnWorkerWritable(uint64_t id) {
  const auto it = links_.find(id);
  if (it != links_.end()) it->second.writable = true;
}

void Dispatcher::OnStepFrame(uint64_t id, v1::StepFrame frame) {
  now_ = clock_.Now();
  const auto it = links_.find(id);
  if (it == links_.end()) return;
  WorkerLink& link = it->second;
  link.last_frame = now_;
  if (frame.draining()) {
    link.draining = true;
    link.reserved = false;
  }
  for (const v1::Credits& credits : frame.credits()) {
    const auto model = link.models.find(credits.model());
    if (model == link.models.end()) continue;
    model->second.max_sequences = credits.sequences();
    model->second.max_blocks = credits.kv_blocks();
  }
  for (v1::EngineStats& stats : *frame.mutable_stats()) {
    const auto model = link.models.find(stats.model());
    if (model == link.models.end()) continue;
    const bool moved = stats.layer_progress() != model->second.stats.layer_progress() ||
                       stats.steps() != model->second.stats.steps();
    if (moved || stats.running() + stats.waiting() == 0) model->second.moved = now_;
    model->second.stats = std::move(stats);
    if (model->second.stands) CheckStandstill(link, model->second);
  }
  for (const v1::KvEvents& events : frame.kv_events()) {
    const auto model = link.models.find(events.model());
    if (model != link.models.end()) model->second.prefixes.Apply(events);
  }
  for (const v1::RowStart& start : frame.starts()) {
    const auto assigned = link.in_flight.find(start.handle());
    if (assigned == link.in_flight.end() || assigned->second.request == nullptr) continue;
    Request& request = *assigned->second.request;
    if (start.attempt() != request.log.attempt() || request.started) continue;
    request.started = true;
    request.cached_prompt_tokens = start.cached_prompt_tokens();
  }
  std::string why;
  if (!ApplyRows(link, frame, &why)) {
    ports_.workers->Break(id, why);
    Lose(id, LossReason::kProtocol, why);
    return;
  }
  for (const v1::RowFinish& finish : frame.finishes()) ApplyFinish(link, finish);
  Acquit(link);
}

// A later attempt scores the prompt again from its beginning; what was delivered is not repeated.
bool Dispatcher::ApplyPromptLogprobs(WorkerLink& link, v1::RowPromptLogprobs& row,
                                     std::string* why) {
  const auto assigned = link.in_flight.find(row.handle());
  Request* request = assigned == link.in_flight.end() ? nullptr : assigned->second.request;
  if (request == nullptr || row.attempt() != request->log.attempt() ||
      !request->sampling.prompt_logprobs()) {
    return true;
  }
  const uint64_t end = uint64_t{row.first_position()} + static_cast<uint64_t>(row.tokens_size());
  if (row.first_position() < 1 || row.first_position() > request->prompt_scored + 1 ||
      end > request->prompt_ids.size()) {
    *why = fmt::format("log probabilities of prompt tokens {} to {}, where {} of {} were known",
                       row.first_position(), end, request->prompt_scored + 1,
                       request->prompt_ids.size());
    return false;
  }
  const v1::ModelInfo& info = link.models.at(assigned->second.model).info;
  if (auto wrong = CheckLogprobs(row, info)) {
    *why = *std::move(wrong);
    return false;
  }
  v1::PromptLogprobs& out = Out(request->session, request->handle).prompt_logprobs;
  for (uint64_t position = request->prompt_scored + 1; position < end; ++position) {
    v1::TokenLogprob& entry =
        *row.mutable_tokens(static_cast<int>(position) - static_cast<int>(row.first_position()));
    AddTexts(*request->text, entry);
    if (out.tokens_size() == 0) out.set_first_position(static_cast<uint32_t>(position));
    *out.add_tokens() = std::move(entry);
    request->prompt_scored = static_cast<uint32_t>(position);
  }
  return true;
}

// False when the frame contradicts itself or a log: `why` is then set.
bool Dispatcher::ApplyRows(WorkerLink& link, v1::StepFrame& frame, std::string* why) {
  const int rows = frame.handles_size();
  if (frame.attempts_size() != rows || frame.first_indexes_size() != rows ||
      frame.token_counts_size() != rows) {
    *why = "a step frame whose arrays differ in length";
    return false;
  }
  // The last token of a sequence that ends with STOP has no text.
  std::unordered_set<uint32_t> stopping;
  for (const v1::RowFinish& finish : frame.finishes()) {
    if (finish.reason() == v1::FINISH_REASON_STOP) stopping.insert(finish.handle());
  }
  for (v1::RowPromptLogprobs& row : *frame.mutable_prompt_logprobs()) {
    if (!ApplyPromptLogprobs(link, row, why)) return false;
  }
  std::unordered_map<uint32_t, std::pair<v1::RowLogprobs*, int>> logprobs;
  for (v1::RowLogprobs& l : *frame.mutable_logprobs()) {
    const auto [at, first] = logprobs.try_emplace(l.handle(), &l, 0);
    // Several steps merged: a handle has several rows, its logprobs are in their order.
    if (!first) at->second.first->mutable_tokens()->MergeFrom(l.tokens());
  }

  size_t stale = 0;
  uint64_t next = 0;
  for (int row = 0; row < rows; ++row) {
    const uint32_t count = frame.token_counts(row);
    if (next + count > static_cast<uint64_t>(frame.token_ids_size())) {
      *why = "a step frame with fewer token ids than its rows say";
      return false;
    }
    const std::span<const uint32_t> tokens(frame.token_ids().data() + next, count);
    next += count;
    const uint32_t handle = frame.handles(row);
    const auto assigned = link.in_flight.find(handle);
    Request* request = assigned == link.in_flight.end() ? nullptr : assigned->second.request;
    if (request == nullptr) {
      ++stale;  // cancelled or finished here; the worker does not know yet
      continue;
    }
    const v1::ModelInfo& info = link.models.at(assigned->second.model).info;
    const auto found = logprobs.find(handle);
    if (frame.attempts(row) == request->log.attempt()) {
      auto wrong = CheckRow(*request, info, tokens);
      if (!wrong && found != logprobs.end()) wrong = CheckLogprobs(*found->second.first, info);
      if (wrong) {
        *why = *std::move(wrong);
        return false;
      }
    }
    switch (request->log.Append(frame.attempts(row), frame.first_indexes(row), tokens)) {
      case Appended::kStale:
        ++stale;
        continue;
      case Appended::kGap:
        *why = fmt::format("a row at index {} for a log of {} tokens", frame.first_indexes(row),
                           request->log.size());
        return false;
      case Appended::kOk:
        break;
    }
    Assignment& assignment = assigned->second;
    if (assignment.prefill > 0 && count > 0) {
      LinkModel& model = link.models.at(assignment.model);
      --model.prefilling;
      model.pending_prefill -= assignment.prefill;
      if (assignment.recompute) model.recompute -= assignment.prefill;
      assignment.prefill = 0;
    }
    if (!request->first_token && count > 0) request->first_token = now_;
    request->model->queue.Charge(request->share_key, request->weight, count);

    bool last_row = stopping.contains(handle);
    for (int later = row + 1; last_row && later < rows; ++later) {
      if (frame.handles(later) == handle) last_row = false;
    }
    for (size_t i = 0; i < tokens.size(); ++i) {
      v1::TokenLogprob* logprob = nullptr;
      if (request->sampling.logprobs() && found != logprobs.end() &&
          found->second.second < found->second.first->tokens_size()) {
        logprob = found->second.first->mutable_tokens(found->second.second++);
        AddTexts(*request->text, *logprob);
      }
      if (last_row && i + 1 == tokens.size()) {
        request->assembler->AppendSilent(tokens[i], logprob);
      } else {
        request->assembler->Append(tokens[i], logprob);
      }
    }
    Deliver(*request);
    if (request->assembler->stopped()) {
      StopOnWorker(*request);
      Finish(*request, v1::FINISH_REASON_STOP, nullptr);
    }
  }
  if (stale > 0) ports_.observer->StaleRows(stale);
  return true;
}

void Dispatcher::ApplyFinish(WorkerLink& link, const v1::RowFinish& finish) {
  const auto assigned = link.in_flight.find(finish.handle());
  if (assigned == link.in_flight.end()) return;
  Request* request = assigned->second.request;
  LinkModel& model = link.models.at(assigned->second.model);
  const bool was_alone = request != nullptr && link.isolated == request;
  ReleaseAssignment(link, finish.handle());
  if (request == nullptr) return;
  request->link = 0;
  switch (finish.reason()) {
    case v1::FINISH_REASON_STOP:
    case v1::FINISH_REASON_LENGTH:
      request->assembler->Finish();
      Deliver(*request);
      Finish(*request, request->assembler->stopped() ? v1::FINISH_REASON_STOP : finish.reason(),
             nullptr);
      return;
    case v1::FINISH_REASON_ERROR:
      if (finish.error().code() == kDeadlineExceeded) {
        Finish(*request, v1::FINISH_REASON_ERROR, &finish.error());
      } else if (finish.error().code() == kResourceExhausted ||
                 finish.error().code() == kUnavailable) {
        model.refused_until = now_ + kRefusalPause;
        --request->attempts;  // it did not run
        RunAgain(*request, false, false);
      } else if (finish.error().code() == kInternal) {
        // The step failed. Perhaps because of this sequence, perhaps because of another one.
        RunAgain(*request, true, was_alone);
      } else {
        Finish(*request, v1::FINISH_REASON_ERROR, &finish.error());
      }
      return;
    default:
      // Cancelled, but not by us: the worker freed it (a lease that ran out, a drain).
      RunAgain(*request, false, false);
      return;
  }
}

}  // namespace weft::scheduler
