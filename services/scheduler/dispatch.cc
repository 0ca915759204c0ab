// From the queues to the workers.
#include <algorithm>
#include <optional>

#include "libs/base/status.h"
#include "services/scheduler/dispatcher.h"
#include "services/scheduler/router.h"
#include "services/scheduler/rpc_code.h"

namespace weft::scheduler {
namespace {

// A sequence is expected to grow by at most so many tokens when blocks are counted; beyond, the
// worker preempts.
constexpr uint64_t kExpectedGrowth = 256;

// Tenants that are passed over in one look at the queue because they have their part already.
constexpr int kMaxPassedOver = 64;

}  // namespace

uint64_t Dispatcher::BlocksNeeded(const Request& request, const WorkerLink& link) const {
  const uint64_t left = request.sampling.max_tokens() - request.log.size();
  const uint64_t tokens =
      request.prompt_ids.size() + request.log.size() + std::min(left, kExpectedGrowth);
  return (tokens + link.block_tokens - 1) / link.block_tokens;
}

// Leading blocks that another choice of the same request has on this worker: it computes them, or
// has, and the engine shares them.
size_t Dispatcher::SharedWithSiblings(const Request& request, const WorkerLink& link) {
  if (request.submit->choice() == 0) return 0;
  size_t most = 0;
  for (const auto& [handle, assignment] : link.in_flight) {
    const Request* other = assignment.request;
    if (other == nullptr || other->submit->request_id() != request.submit->request_id()) continue;
    const size_t size = std::min(other->prefix.size(), request.prefix.size());
    const auto differ =
        std::mismatch(request.prefix.begin(), request.prefix.begin() + static_cast<ptrdiff_t>(size),
                      other->prefix.begin());
    most = std::max(most, static_cast<size_t>(differ.first - request.prefix.begin()));
  }
  return most;
}

// A tenant has its part of a worker when it runs there as much as each would if one more came.
bool Dispatcher::HasItsPart(const Request& request, const LinkModel& model) const {
  const auto own = model.tenants.find(request.share_key);
  const uint32_t running = own == model.tenants.end() ? 0 : own->second;
  const size_t tenants = model.tenants.size() + (running == 0 ? 1 : 0);
  return running >= model.max_sequences / (tenants + 1);
}

WorkerLink* Dispatcher::Route(const Request& request, bool* held_back) {
  std::vector<RouteCandidate> candidates;
  std::vector<RouteCandidate> bounded;
  std::vector<WorkerLink*> links;
  RouteNeed need;
  need.prefill_tokens = request.prompt_ids.size() + request.log.size();
  for (auto& [id, link] : links_) {
    const auto it = link.models.find(request.model->id);
    if (it == link.models.end()) continue;
    const LinkModel& model = it->second;
    // The blocks of the worker with the largest blocks: the difference never matters in practice.
    need.blocks = std::max(need.blocks, BlocksNeeded(request, link));
    RouteCandidate c;
    c.link = id;
    c.usable = !link.draining && !link.reserved && link.isolated == nullptr && !model.stands &&
               now_ >= model.refused_until && Serves(link, request);
    if (request.state == RequestState::kAgain && model.recompute > 0 &&
        model.recompute + need.prefill_tokens > static_cast<uint64_t>(options_.redispatch_tokens)) {
      c.usable = false;
    }
    c.same_numerics =
        request.numerics_class.empty() || request.numerics_class == model.info.numerics_class();
    c.in_flight = model.in_flight;
    c.max_in_flight = model.max_sequences;
    c.blocks_in_flight = model.blocks;
    c.max_blocks = model.max_blocks;
    c.waiting = model.stats.waiting();
    c.pending_prefill = model.pending_prefill;
    c.cached_tokens =
        std::max(model.prefixes.Match(request.prefix), SharedWithSiblings(request, link)) *
        kv::kBlockTokens;
    candidates.push_back(c);
    links.push_back(&link);
    if (held_back == nullptr) continue;
    if (HasItsPart(request, model)) {
      c.max_in_flight -= c.max_in_flight * options_.reserve_percent / 100;
      c.max_blocks -= c.max_blocks * options_.reserve_percent / 100;
    }
    bounded.push_back(c);
  }
  const auto chosen = ChooseWorker(held_back == nullptr ? candidates : bounded, need);
  if (chosen) return links[*chosen];
  if (held_back != nullptr) *held_back = ChooseWorker(candidates, need).has_value();
  return nullptr;
}

bool Dispatcher::HasIdleWorker(const Model& model) const {
  return std::any_of(links_.begin(), links_.end(), [&](const auto& entry) {
    const WorkerLink& link = entry.second;
    const auto it = link.models.find(model.id);
    return it != link.models.end() && !link.draining && !link.reserved &&
           link.isolated == nullptr && !it->second.stands &&
           it->second.in_flight < it->second.max_sequences &&
           it->second.prefilling < options_.max_batch_size;
  });
}

// True while the requests that wait should go on gathering.
bool Dispatcher::GatherMore(Model& model) {
  if (model.window_open) return false;
  if (model.queue.size() >= options_.max_batch_size ||
      (model.gathering_since && now_ - *model.gathering_since >= options_.max_wait)) {
    model.window_open = true;  // until the queue is empty: what did not fit has gathered enough
    return false;
  }
  return !HasIdleWorker(model);
}

void Dispatcher::Dispatch(Model& model) {
  const bool served = std::any_of(links_.begin(), links_.end(), [&](const auto& l) {
    const auto it = l.second.models.find(model.id);
    return !l.second.draining && it != l.second.models.end() && !it->second.stands;
  });
  if (served) {
    model.without_worker_since.reset();
  } else {
    if (!model.without_worker_since) model.without_worker_since = now_;
    return;
  }

  DispatchSuspects(model);
  // Streams that were interrupted go before new ones, oldest first.
  for (size_t i = 0; i < model.again.size();) {
    Request& request = *model.again[i];
    if (!IsServed(request)) {
      // Its worker may come back; nobody waits for that.
      if (!FailReplaced(request, options_.no_worker_timeout)) ++i;
      continue;
    }
    WorkerLink* link = Route(request);
    if (link == nullptr) break;
    model.again.erase(model.again.begin() + static_cast<std::ptrdiff_t>(i));
    DispatchTo(request, *link);
  }
  DispatchQueued(model);
  if (model.queue.empty()) {
    model.gathering_since.reset();
    model.window_open = false;
  }
}

// Nobody overtakes the next one in fair order when there is no room for it, except where it is its
// own tenant's part that is full.
void Dispatcher::DispatchQueued(Model& model) {
  while (!model.queue.empty() && !GatherMore(model)) {
    WorkerLink* link = nullptr;
    Request* replaced = nullptr;
    int passed_over = 0;
    bool stop = false;
    const auto next = model.queue.PopIf([&](const batching::FairEntry& entry) {
      if (stop) return false;
      Request& request = *requests_.at(entry.id);
      if (!IsServed(request)) {
        replaced = &request;
        stop = true;
        return false;
      }
      bool held_back = false;
      link = Route(request, &held_back);
      stop = link == nullptr && (!held_back || ++passed_over >= kMaxPassedOver);
      return link != nullptr;
    });
    if (replaced != nullptr && FailReplaced(*replaced, {})) continue;
    if (!next) return;
    DispatchTo(*requests_.at(next->id), *link);
  }
}

// False when no worker that takes work can go on with the request: a new version came under the
// same name.
bool Dispatcher::IsServed(const Request& request) const {
  return std::any_of(links_.begin(), links_.end(), [&](const auto& entry) {
    return !entry.second.draining && Serves(entry.second, request);
  });
}

// Fails the request if it has waited for so long.
bool Dispatcher::FailReplaced(Request& request, std::chrono::nanoseconds patience) {
  if (now_ - request.waiting_since < patience) return false;
  Fail(request,
       MakeRetryError(
           kUnavailable,
           fmt::format("model {} was replaced while the request waited", request.model->id), 1000));
  return true;
}

// With another tokenizer its token ids mean nothing; other weights must not go on with an output
// or prompt log probabilities that these began.
bool Dispatcher::Serves(const WorkerLink& link, const Request& request) {
  const auto it = link.models.find(request.model->id);
  if (it == link.models.end()) return false;
  const v1::ModelInfo& info = it->second.info;
  return info.tokenizer_sha256() == request.info.tokenizer_sha256() &&
         ((request.log.size() == 0 && request.prompt_scored == 0) ||
          info.version() == request.info.version());
}

// A suspect runs alone on a worker: one worker is emptied for it, the others go on. One suspect at
// a time, so that a request that kills its worker takes nobody else's work with it.
void Dispatcher::DispatchSuspects(Model& model) {
  if (model.suspects.empty()) return;
  if (Request& next = *model.suspects.front(); !IsServed(next)) {
    FailReplaced(next, options_.no_worker_timeout);
    return;
  }
  const auto serves = [&](const WorkerLink& link) {
    return !link.draining && Serves(link, *model.suspects.front()) &&
           !link.models.at(model.id).stands;
  };
  WorkerLink* best = nullptr;
  for (auto& [id, link] : links_) {
    if (link.isolated != nullptr) return;
    if (!serves(link)) continue;
    const bool better =
        best == nullptr || (link.reserved && !best->reserved) ||
        (link.reserved == best->reserved && link.in_flight.size() < best->in_flight.size());
    if (better) best = &link;
  }
  if (best == nullptr) return;
  best->reserved = true;
  const auto it = best->models.find(model.id);
  if (!best->in_flight.empty() || it->second.max_sequences == 0 ||
      now_ < it->second.refused_until) {
    return;
  }
  Request& request = *model.suspects.front();
  model.suspects.pop_front();
  best->reserved = false;
  best->isolated = &request;
  ports_.observer->SuspectRunsAlone(request.submit->request_id());
  DispatchTo(request, *best);
}

void Dispatcher::DispatchTo(Request& request, WorkerLink& link) {
  LinkModel& model = link.models.at(request.model->id);
  const bool again = request.attempts > 0;
  const bool same =
      request.numerics_class.empty() || request.numerics_class == model.info.numerics_class();
  ++request.attempts;
  request.queued += now_ - request.waiting_since;
  if (request.trace) request.trace->Queued(request.waiting_since, now_, request.attempts);
  queue_ms_average_ = 0.9 * queue_ms_average_ + 0.1 * Millis(now_ - request.waiting_since);

  Assignment assignment;
  assignment.request = &request;
  assignment.model = request.model->id;
  assignment.share_key = request.share_key;
  assignment.blocks = BlocksNeeded(request, link);
  assignment.prefill = request.prompt_ids.size() + request.log.size();
  assignment.recompute = again || request.log.size() > 0;
  ++model.in_flight;
  ++model.tenants[request.share_key];
  ++model.prefilling;
  model.blocks += assignment.blocks;
  model.pending_prefill += assignment.prefill;
  if (assignment.recompute) model.recompute += assignment.prefill;

  request.link = link.id;
  request.worker_handle = link.next_handle++;
  request.numerics_class = model.info.numerics_class();
  if (request.info.version() != model.info.version()) {
    request.info = model.info;  // it has no token yet: Serves
    TellAccepted(request);
  }
  SetState(request, RequestState::kRunning);

  v1::WorkItem& item = *link.pending.add_items();
  item.set_handle(request.worker_handle);
  item.set_attempt(request.log.BeginAttempt());
  item.set_request_id(request.submit->request_id());
  if (request.trace) item.set_traceparent(request.trace->Traceparent());
  item.set_model(request.model->id);
  item.mutable_prompt_ids()->Add(request.prompt_ids.begin(), request.prompt_ids.end());
  item.mutable_output_ids()->Add(request.log.tokens().begin(), request.log.tokens().end());
  *item.mutable_sampling() = request.sampling;
  item.set_choice(request.submit->choice());
  item.set_share_key(request.share_key);
  item.set_weight(static_cast<float>(request.weight));
  item.set_priority(request.submit->priority());
  const auto left = std::chrono::duration_cast<std::chrono::microseconds>(*request.deadline - now_);
  item.set_timeout_us(static_cast<uint64_t>(std::max<int64_t>(left.count(), 1)));
  item.set_kv_salt(request.submit->kv_salt());
  link.in_flight.emplace(request.worker_handle, std::move(assignment));
  if (again) {
    ports_.observer->Redispatched(request.submit->request_id(), request.log.attempt(),
                                  request.log.size(), same);
  }
}

void Dispatcher::RemoveFromQueue(Request& request) {
  switch (request.state) {
    case RequestState::kQueued:
      request.model->queue.Remove(request.id);
      break;
    case RequestState::kAgain:
      std::erase(request.model->again, &request);
      break;
    case RequestState::kSuspect:
      std::erase(request.model->suspects, &request);
      break;
    case RequestState::kParked:  // parked_ holds ids, and drops those that are gone
    case RequestState::kPreparing:
    case RequestState::kRunning:
      break;
  }
}

void Dispatcher::FlushWorker(WorkerLink& link) {
  if (!link.writable || (link.pending.items().empty() && link.pending.cancels().empty())) return;
  v1::WorkFrame frame;
  frame.Swap(&link.pending);
  link.writable = false;
  ports_.workers->Write(link.id, std::move(frame));
}

}  // namespace weft::scheduler
