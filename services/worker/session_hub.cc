#include "services/worker/session_hub.h"

#include <algorithm>
#include <cstdlib>
#include <thread>
#include <utility>

#include "libs/base/status.h"
#include "libs/kv/prefix_key.h"
#include "services/worker/wire.h"

namespace weft::worker {
namespace {

// How soon rows that were held for a slow session are tried again.
constexpr std::chrono::milliseconds kRetry{5};
// Schedulers whose epochs are remembered.
constexpr size_t kMaxEpochs = 4096;

}  // namespace

SessionHub::SessionHub(std::string worker_id, std::vector<EnginePort*> engines,
                       const HubOptions& options, FinishObserver on_finish, const Clock& clock)
    : worker_id_(std::move(worker_id)),
      engines_(std::move(engines)),
      options_(options),
      on_finish_(std::move(on_finish)),
      clock_(clock),
      next_heartbeat_(clock.Now() + options.heartbeat) {}

size_t SessionHub::OpenSessions() const {
  return static_cast<size_t>(std::count_if(sessions_.begin(), sessions_.end(),
                                           [](const auto& s) { return s.second.sink != nullptr; }));
}

// Each session gets its part of what the engine runs at once, and an eighth more, so that the next
// sequence is here when one ends.
uint32_t SessionHub::Credit(size_t engine) const {
  const auto sessions = static_cast<uint32_t>(std::max<size_t>(1, OpenSessions()));
  const uint32_t most = engines_[engine]->max_sequences();
  return std::max(1u, (most + most / 8) / sessions);
}

void SessionHub::GrantCredits() {
  const auto sessions = std::max<size_t>(1, OpenSessions());
  for (auto& [id, session] : sessions_) {
    if (session.sink == nullptr) continue;
    v1::StepFrame& frame = Pending(session);
    for (size_t e = 0; e < engines_.size(); ++e) {
      v1::Credits& credits = *frame.add_credits();
      credits.set_model(engines_[e]->info().id());
      credits.set_sequences(draining_ ? 0 : Credit(e));
      credits.set_kv_blocks(engines_[e]->kv_blocks() / sessions);
    }
  }
}

void SessionHub::AddStats(v1::StepFrame* frame) const {
  for (const EnginePort* engine : engines_) {
    v1::EngineStats& stats = *frame->add_stats();
    ToWire(engine->Stats(), &stats);
    stats.set_model(engine->info().id());
  }
}

v1::StepFrame& SessionHub::Pending(Session& session) {
  session.has_pending = true;
  return session.pending;
}

void SessionHub::Flush(Session& session) {
  if (!session.has_pending || session.sink == nullptr) return;
  if (session.sink->queued() >= options_.busy_frames) {
    if (static_cast<size_t>(session.pending.token_ids_size()) > options_.max_pending_tokens) {
      session.sink->Abort(ResourceExhausted("the scheduler does not read its steps"));
    }
    return;
  }
  session.pending.set_draining(draining_);
  session.has_pending = false;
  session.pending_kv_bytes = 0;
  v1::StepFrame frame;
  frame.Swap(&session.pending);
  session.sink->Send(std::move(frame));
}

void SessionHub::FlushAll() {
  for (auto& [id, session] : sessions_) Flush(session);
}

absl::StatusOr<uint64_t> SessionHub::Open(const v1::WorkHello& hello,
                                          std::shared_ptr<FrameSink> sink) {
  if (hello.scheduler_id().empty() || hello.scheduler_id().size() > 256) {
    return InvalidArgument("hello.scheduler_id: must have 1 to 256 bytes");
  }
  std::lock_guard lock(mutex_);
  uint64_t& last = last_epochs_[hello.scheduler_id()];
  if (hello.epoch() <= last) {
    return FailedPrecondition("hello.epoch: {} is not newer than {}", hello.epoch(), last);
  }
  last = hello.epoch();
  if (last_epochs_.size() > kMaxEpochs) {
    // Ids are unique per scheduler process: one without a session does not come back.
    for (auto it = last_epochs_.begin(); it != last_epochs_.end();) {
      const bool live = it->first == hello.scheduler_id() ||
                        std::any_of(sessions_.begin(), sessions_.end(), [&](const auto& s) {
                          return s.second.scheduler_id == it->first;
                        });
      it = live ? std::next(it) : last_epochs_.erase(it);
    }
  }
  // The scheduler has given its older sessions up, and sends their sequences somewhere else.
  for (auto& [id, old] : sessions_) {
    if (old.scheduler_id != hello.scheduler_id()) continue;
    FreeItems(old);
    if (old.sink != nullptr) old.sink->Abort(Cancelled("a newer session took over"));
  }
  const uint64_t id = next_session_++;
  Session& session = sessions_[id];
  session.id = id;
  session.scheduler_id = hello.scheduler_id();
  session.epoch = hello.epoch();
  session.sink = std::move(sink);
  session.in_flight.assign(engines_.size(), 0);
  session.needs_snapshot.assign(engines_.size(), true);

  v1::StepFrame& frame = Pending(session);
  v1::WorkerWelcome& welcome = *frame.mutable_welcome();
  welcome.set_worker_id(worker_id_);
  welcome.set_epoch(hello.epoch());
  welcome.set_lease_ms(static_cast<uint32_t>(options_.lease.count()));
  welcome.set_block_tokens(static_cast<uint32_t>(kv::kBlockTokens));
  for (const EnginePort* engine : engines_) *welcome.add_models() = engine->info();
  AddStats(&frame);
  GrantCredits();
  FlushAll();
  for (EnginePort* engine : engines_) engine->RequestKvSnapshot();
  return id;
}

void SessionHub::OnWork(uint64_t id, const v1::WorkFrame& frame) {
  std::lock_guard lock(mutex_);
  const auto it = sessions_.find(id);
  if (it == sessions_.end() || it->second.sink == nullptr) return;
  Session& session = it->second;
  for (const v1::WorkItem& item : frame.items()) Submit(session, item);
  std::vector<uint64_t> cancels;
  for (const uint32_t handle : frame.cancels()) {
    const auto found = session.by_handle.find(handle);
    if (found != session.by_handle.end()) cancels.push_back(found->second);
  }
  // An engine ignores the ids of others.
  if (!cancels.empty()) {
    for (EnginePort* engine : engines_) engine->Cancel(cancels);
  }
  Flush(session);
}

void SessionHub::Refuse(Session& session, const v1::WorkItem& item, const absl::Status& why) {
  v1::RowFinish& finish = *Pending(session).add_finishes();
  finish.set_handle(item.handle());
  finish.set_attempt(item.attempt());
  finish.set_reason(v1::FINISH_REASON_ERROR);
  *finish.mutable_error() = ToWire(why);
}

void SessionHub::Submit(Session& session, const v1::WorkItem& item) {
  if (session.by_handle.contains(item.handle())) {
    session.sink->Abort(InvalidArgument("items.handle: {} is in use", item.handle()));
    return;
  }
  size_t e = 0;
  while (e < engines_.size() && engines_[e]->info().id() != item.model()) ++e;
  if (e == engines_.size()) {
    return Refuse(session, item, NotFound("model: {} is not served here", item.model()));
  }
  if (draining_) return Refuse(session, item, Unavailable("the worker is shutting down"));
  if (session.in_flight[e] >= Credit(e)) {
    return Refuse(session, item, ResourceExhausted("more work than the session's credits"));
  }
  const SteadyTime now = clock_.Now();
  auto work = FromWire(item, now);
  if (!work.ok()) return Refuse(session, item, work.status());
  work->id = next_item_++;
  const uint64_t engine_id = work->id;

  // In the table first: the engine's thread may finish it before Submit returns, and waits for the
  // lock then.
  Item& entry = items_[engine_id];
  entry.session = session.id;
  entry.handle = item.handle();
  entry.record = {item.request_id(), item.traceparent(), item.attempt(), e, now};
  if (options_.fault) entry.fault = options_.fault(item);
  session.by_handle[item.handle()] = engine_id;
  ++session.in_flight[e];
  if (const absl::Status s = engines_[e]->Submit(*std::move(work)); !s.ok()) {
    items_.erase(engine_id);
    session.by_handle.erase(item.handle());
    --session.in_flight[e];
    Refuse(session, item, s);
  }
}

void SessionHub::OnClosed(uint64_t id) {
  std::lock_guard lock(mutex_);
  const auto it = sessions_.find(id);
  if (it == sessions_.end()) return;
  Session& session = it->second;
  session.sink = nullptr;
  session.pending.Clear();
  session.has_pending = false;
  session.lease_ends = clock_.Now() + options_.lease;
  if (session.by_handle.empty()) sessions_.erase(it);
  GrantCredits();
  FlushAll();
}

void SessionHub::FreeItems(Session& session) {
  std::vector<uint64_t> ids;
  for (const auto& [handle, id] : session.by_handle) ids.push_back(id);
  if (ids.empty()) return;
  for (EnginePort* engine : engines_) engine->Cancel(ids);
}

void SessionHub::AddKvEvents(size_t e, const engine::StepOutput& output) {
  for (auto& [id, session] : sessions_) {
    if (session.sink == nullptr) continue;
    if (session.pending_kv_bytes > options_.max_pending_kv_bytes) {
      session.pending.clear_kv_events();
      session.pending_kv_bytes = 0;
      session.needs_snapshot.assign(engines_.size(), true);
      for (EnginePort* engine : engines_) engine->RequestKvSnapshot();
    }
    if (session.needs_snapshot[e]) {
      if (!output.kv_snapshot) continue;
      session.needs_snapshot[e] = false;
      v1::KvEvents& events = *Pending(session).add_kv_events();
      events.set_model(engines_[e]->info().id());
      events.set_snapshot(true);
      events.set_first_number(output.kv_snapshot->number);
      events.set_last_number(output.kv_snapshot->number);
      for (const kv::PrefixKey& key : output.kv_snapshot->keys) {
        key.AppendTo(events.mutable_stored());
      }
      session.pending_kv_bytes += events.stored().size();
    } else if (!output.kv_events.empty()) {
      v1::KvEvents& events = *Pending(session).add_kv_events();
      events.set_model(engines_[e]->info().id());
      events.set_first_number(output.kv_events.number);
      events.set_last_number(output.kv_events.number);
      for (const kv::PrefixKey& key : output.kv_events.stored) {
        key.AppendTo(events.mutable_stored());
      }
      for (const kv::PrefixKey& key : output.kv_events.removed) {
        key.AppendTo(events.mutable_removed());
      }
      session.pending_kv_bytes += events.stored().size() + events.removed().size();
    }
  }
}

// The test-only faults: as a kernel that crashes, or never ends, on a request.
void SessionHub::Misbehave(const engine::StepOutput& output) {
  bool hangs = false;
  {
    std::lock_guard lock(mutex_);
    for (const engine::StepRow& row : output.rows) {
      const auto item = items_.find(row.id);
      if (item == items_.end()) continue;
      const Fault& fault = item->second.fault;
      if (row.first_index + row.token_count < fault.after_tokens) continue;
      if (fault.kind == Fault::Kind::kCrash) std::abort();
      hangs |= fault.kind == Fault::Kind::kHang;
    }
  }
  // The engine's thread alone: sessions and heartbeats go on.
  // NOLINTNEXTLINE(bugprone-infinite-loop)
  while (hangs) std::this_thread::sleep_for(std::chrono::hours(1));
}

void SessionHub::OnStep(size_t e, const engine::StepOutput& output) {
  if (options_.fault) Misbehave(output);
  std::lock_guard lock(mutex_);
  // Steps of many sessions are rare: the last session is usually the next one, too.
  Session* session = nullptr;
  const auto find = [&](uint64_t id) -> Item* {
    const auto it = items_.find(id);
    if (it == items_.end()) return nullptr;
    if (session == nullptr || session->id != it->second.session) {
      session = &sessions_.at(it->second.session);
    }
    return &it->second;
  };
  for (const engine::StepStart& start : output.starts) {
    const Item* item = find(start.id);
    if (item != nullptr && session->sink != nullptr) {
      AddStart(start, item->handle, &Pending(*session));
    }
  }
  for (const engine::PromptRow& row : output.prompt_rows) {
    const Item* item = find(row.id);
    if (item != nullptr && session->sink != nullptr) {
      AddPromptRow(output, row, item->handle, &Pending(*session));
    }
  }
  for (const engine::StepRow& row : output.rows) {
    const Item* item = find(row.id);
    if (item == nullptr) continue;
    if (session->sink == nullptr) continue;
    v1::StepFrame& frame = Pending(*session);
    frame.set_step(output.step);
    AddRow(output, row, item->handle, &frame);
  }
  for (const engine::StepFinish& finish : output.finishes) {
    const Item* item = find(finish.id);
    if (item == nullptr) continue;
    if (on_finish_) on_finish_(item->record, finish);
    if (session->sink != nullptr) AddFinish(finish, item->handle, &Pending(*session));
    session->by_handle.erase(item->handle);
    --session->in_flight[e];
    const uint64_t session_id = session->id;
    items_.erase(finish.id);
    if (session->sink == nullptr && session->by_handle.empty()) {
      sessions_.erase(session_id);
      session = nullptr;
    }
  }
  AddKvEvents(e, output);
  FlushAll();
}

SteadyTime SessionHub::Tick() {
  std::lock_guard lock(mutex_);
  const SteadyTime now = clock_.Now();
  if (now >= next_heartbeat_) {
    next_heartbeat_ = now + options_.heartbeat;
    for (auto& [id, session] : sessions_) {
      // A slow session gets one set of statistics, the newest.
      if (session.sink == nullptr) continue;
      v1::StepFrame& frame = Pending(session);
      frame.clear_stats();
      AddStats(&frame);
    }
  }
  FlushAll();
  SteadyTime wake = next_heartbeat_;
  for (auto& [id, session] : sessions_) {
    if (session.has_pending) wake = std::min(wake, now + kRetry);
    if (session.sink != nullptr) continue;
    if (now >= session.lease_ends) {
      FreeItems(session);
      session.lease_ends = now + options_.lease;
    }
    wake = std::min(wake, session.lease_ends);
  }
  return wake;
}

void SessionHub::BeginDrain() {
  std::lock_guard lock(mutex_);
  if (draining_) return;
  draining_ = true;
  for (auto& [id, session] : sessions_) {
    if (session.sink != nullptr) Pending(session);
  }
  GrantCredits();
  FlushAll();
}

size_t SessionHub::sessions() const {
  std::lock_guard lock(mutex_);
  return OpenSessions();
}

size_t SessionHub::items() const {
  std::lock_guard lock(mutex_);
  return items_.size();
}

}  // namespace weft::worker
