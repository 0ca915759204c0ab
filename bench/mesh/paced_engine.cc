#include "bench/mesh/paced_engine.h"

#include <algorithm>
#include <iterator>
#include <utility>

namespace weft::bench {
namespace {

void AddFinish(engine::StepOutput& out, uint64_t id, uint32_t attempt,
               engine::FinishReason reason) {
  engine::StepFinish finish;
  finish.id = id;
  finish.attempt = attempt;
  finish.reason = reason;
  out.finishes.push_back(finish);
}

}  // namespace

PacedEngine::PacedEngine(v1::ModelInfo info, const PacedOptions& options)
    : info_(std::move(info)), options_(options) {}

PacedEngine::~PacedEngine() {
  {
    std::lock_guard lock(mutex_);
    stop_ = true;
  }
  changed_.notify_all();
  if (thread_.joinable()) thread_.join();
}

void PacedEngine::Start(std::function<void(const engine::StepOutput&)> sink) {
  sink_ = std::move(sink);
  thread_ = std::thread([this] { options_.own_pace ? RunOwnPace() : Run(); });
}

absl::Status PacedEngine::Submit(engine::WorkItem item) {
  std::lock_guard lock(mutex_);
  sequences_[item.id] = {item.attempt, static_cast<uint32_t>(item.output.size()),
                         item.sampling.max_tokens, false, Clock::Real().Now()};
  arrived_ = true;
  changed_.notify_all();
  return absl::OkStatus();
}

void PacedEngine::Cancel(std::span<const uint64_t> ids) {
  std::lock_guard lock(mutex_);
  cancelled_.insert(cancelled_.end(), ids.begin(), ids.end());
}

engine::EngineStats PacedEngine::Stats() const {
  std::lock_guard lock(mutex_);
  engine::EngineStats stats;
  stats.running = static_cast<uint32_t>(sequences_.size());
  stats.steps = steps_;
  stats.layer_progress = steps_;
  return stats;
}

void PacedEngine::Run() {
  engine::StepOutput out;
  SteadyTime next = Clock::Real().Now();
  std::unique_lock lock(mutex_);
  while (!stop_) {
    changed_.wait(lock, [this] { return stop_ || !sequences_.empty(); });
    // Until the next step; woken earlier only where first tokens come at once.
    changed_.wait_until(lock, next,
                        [this] { return stop_ || (options_.first_token_at_once && arrived_); });
    if (stop_) break;
    const SteadyTime now = Clock::Real().Now();
    const bool whole_step = now >= next;
    if (whole_step) next = std::max(now, next + options_.step);
    arrived_ = false;
    BeginStep(out);
    for (auto it = sequences_.begin(); it != sequences_.end();) {
      const bool due = whole_step || !it->second.started;
      it = due && AddToken(out, it->first, it->second) ? sequences_.erase(it) : std::next(it);
    }
    lock.unlock();
    sink_(out);
    lock.lock();
  }
}

void PacedEngine::RunOwnPace() {
  engine::StepOutput out;
  std::unique_lock lock(mutex_);
  while (!stop_) {
    SteadyTime next = SteadyTime::max();
    for (const auto& [id, s] : sequences_) next = std::min(next, s.due);
    const auto woken = [this] { return stop_ || arrived_; };
    if (next == SteadyTime::max()) {
      changed_.wait(lock, woken);
    } else {
      changed_.wait_until(lock, next, woken);
    }
    if (stop_) break;
    arrived_ = false;
    const SteadyTime now = Clock::Real().Now();
    BeginStep(out);
    for (auto it = sequences_.begin(); it != sequences_.end();) {
      Sequence& s = it->second;
      const bool due = s.due <= now;
      if (due) s.due += options_.step;
      it = due && AddToken(out, it->first, s) ? sequences_.erase(it) : std::next(it);
    }
    lock.unlock();
    sink_(out);
    lock.lock();
  }
}

void PacedEngine::BeginStep(engine::StepOutput& out) {
  out.Clear();
  out.step = ++steps_;
  for (const uint64_t id : cancelled_) {
    const auto it = sequences_.find(id);
    if (it == sequences_.end()) continue;
    AddFinish(out, id, it->second.attempt, engine::FinishReason::kCancelled);
    sequences_.erase(it);
  }
  cancelled_.clear();
}

bool PacedEngine::AddToken(engine::StepOutput& out, uint64_t id, Sequence& sequence) {
  Sequence& s = sequence;
  if (!std::exchange(s.started, true)) out.starts.push_back({.id = id, .attempt = s.attempt});
  out.rows.push_back({.id = id,
                      .attempt = s.attempt,
                      .first_index = s.next,
                      .token_begin = static_cast<uint32_t>(out.tokens.size()),
                      .token_count = 1});
  out.tokens.push_back(static_cast<int32_t>(1000 + s.next % 1000));
  if (++s.next < s.end) return false;
  AddFinish(out, id, s.attempt, engine::FinishReason::kLength);
  return true;
}

}  // namespace weft::bench
