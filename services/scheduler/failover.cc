// What happens when a worker is lost.
#include <algorithm>
#include <utility>

#include "libs/base/status.h"
#include "services/scheduler/dispatcher.h"
#include "services/scheduler/rpc_code.h"

namespace weft::scheduler {
namespace {

// A suspect that runs alone past the place where its workers died, by so many tokens, is innocent.
constexpr size_t kAcquitTokens = 2;

// Hanging engines that are remembered.
constexpr size_t kMaxStandstills = 1024;

}  // namespace

void Dispatcher::ReleaseAssignment(WorkerLink& link, uint32_t handle) {
  const auto it = link.in_flight.find(handle);
  if (it == link.in_flight.end()) return;
  const Assignment& a = it->second;
  LinkModel& model = link.models.at(a.model);
  --model.in_flight;
  if (const auto tenant = model.tenants.find(a.share_key); --tenant->second == 0) {
    model.tenants.erase(tenant);
  }
  if (a.prefill > 0) --model.prefilling;
  model.blocks -= a.blocks;
  model.pending_prefill -= a.prefill;
  if (a.recompute) model.recompute -= a.prefill;
  if (a.request != nullptr && a.request == link.isolated) link.isolated = nullptr;
  link.in_flight.erase(it);
}

// The worker is told; its room counts as taken until it confirms.
void Dispatcher::StopOnWorker(Request& request) {
  if (request.link == 0) return;
  WorkerLink& link = links_.at(request.link);
  link.pending.add_cancels(request.worker_handle);
  link.in_flight.at(request.worker_handle).request = nullptr;
  if (link.isolated == &request) link.isolated = nullptr;
  request.link = 0;
}

bool Dispatcher::RunAgain(Request& request, bool loss, bool was_alone) {
  request.link = 0;
  request.log.EndAttempt();
  if (loss) {
    ++request.losses;
    request.log_at_loss = std::max(request.log_at_loss, request.log.size());
  }
  if (request.log.size() > 0 && request.log.size() >= request.sampling.max_tokens()) {
    // Its last token came, and only the word that it was the last did not.
    request.assembler->Finish();
    Deliver(request);
    Finish(request, v1::FINISH_REASON_LENGTH, nullptr);
    return false;
  }
  SetState(request, RequestState::kAgain);
  request.waiting_since = now_;
  if ((loss && was_alone) || request.attempts >= options_.max_attempts) {
    SetState(request, RequestState::kPreparing);  // in no queue
    Fail(request,
         MakeError(kInternal, was_alone && loss ? "the request failed on every worker that ran it"
                                                : "the request was interrupted too often"));
    return false;
  }
  if (request.losses >= options_.suspect_losses) {
    SetState(request, RequestState::kSuspect);
    request.model->suspects.push_back(&request);
  } else {
    PlaceAgain(request);
  }
  return true;
}

// Oldest first, wherever they come from.
void Dispatcher::PlaceAgain(Request& request) {
  SetState(request, RequestState::kAgain);
  auto& again = request.model->again;
  const auto place = std::find_if(again.begin(), again.end(), [&](const Request* other) {
    return other->arrived > request.arrived;
  });
  again.insert(place, &request);
}

void Dispatcher::Acquit(WorkerLink& link) {
  if (link.isolated == nullptr) return;
  Request& request = *link.isolated;
  if (request.log.size() < request.log_at_loss + kAcquitTokens) return;
  request.losses = 0;
  link.isolated = nullptr;
}

void Dispatcher::OnWorkerLost(uint64_t id, LossReason reason, std::string_view detail) {
  now_ = clock_.Now();
  Lose(id, reason, detail);
}

void Dispatcher::Lose(uint64_t id, LossReason reason, std::string_view detail) {
  const auto it = links_.find(id);
  if (it == links_.end()) return;
  // Out of the map first: nothing below may find the lost link.
  WorkerLink link = std::move(it->second);
  links_.erase(it);
  // A request can crash a worker or make its engine hang. It cannot make a worker leave in order,
  // nor stop the whole process: that is a frozen or starved host, and no reason to suspect anybody.
  const bool loss =
      !link.draining && reason != LossReason::kDrained && reason != LossReason::kSilent;
  std::vector<Request*> moved;
  for (auto& [handle, assignment] : link.in_flight) {
    if (assignment.request != nullptr) moved.push_back(assignment.request);
  }
  ports_.observer->WorkerLost(link.worker_id, reason, detail, moved.size());
  std::sort(moved.begin(), moved.end(), [](const Request* a, const Request* b) {
    return a->arrived != b->arrived ? a->arrived < b->arrived : a->id < b->id;
  });
  for (Request* request : moved) RunAgain(*request, loss, link.isolated == request);
}

// An engine that hangs may well answer in a new session. Whatever it were given would be lost
// again.
void Dispatcher::NoteStandstill(const WorkerLink& link, const LinkModel& model) {
  if (standstills_.size() >= kMaxStandstills) standstills_.erase(standstills_.begin());
  standstills_[{link.worker_id, model.info.id()}] = {model.stats.layer_progress(),
                                                     model.stats.steps()};
}

void Dispatcher::CheckStandstill(const WorkerLink& link, LinkModel& model) {
  const v1::EngineStats& stats = model.stats;
  if (stats.running() + stats.waiting() > 0 && stats.layer_progress() == model.stands->layers &&
      stats.steps() == model.stands->steps) {
    return;
  }
  model.stands.reset();
  standstills_.erase({link.worker_id, model.info.id()});
}

void Dispatcher::CheckLiveness() {
  std::vector<std::pair<uint64_t, LossReason>> lost;
  for (const auto& [id, link] : links_) {
    if (now_ - link.last_frame >= options_.silent_timeout) {
      lost.emplace_back(id, LossReason::kSilent);
      continue;
    }
    for (const auto& [name, model] : link.models) {
      if (model.stats.running() + model.stats.waiting() > 0 &&
          now_ - model.moved >= options_.stall_timeout) {
        lost.emplace_back(id, LossReason::kStalled);
        NoteStandstill(link, model);
        break;
      }
    }
  }
  for (const auto& [id, reason] : lost) {
    const std::string_view why = reason == LossReason::kSilent ? "nothing came from it for too long"
                                                               : "it has work and runs no layer";
    ports_.workers->Break(id, why);
    Lose(id, reason, why);
  }
}

}  // namespace weft::scheduler
