// The schedulers' sessions at a worker: who owns which sequence, and what each session is told.
#pragma once

#include <absl/status/status.h>
#include <absl/status/statusor.h>

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <unordered_map>
#include <vector>

#include "libs/engine/types.h"
#include "weft/v1/worker.pb.h"

namespace weft::worker {

// One model's engine. Thread safe, never blocks on the model. engine::Engine fits it.
class EnginePort {
 public:
  virtual ~EnginePort() = default;
  virtual const v1::ModelInfo& info() const = 0;
  virtual uint32_t max_sequences() const = 0;
  virtual uint32_t kv_blocks() const = 0;
  virtual absl::Status Submit(engine::WorkItem item) = 0;
  virtual void Cancel(std::span<const uint64_t> ids) = 0;
  virtual void RequestKvSnapshot() = 0;
  // Statistics with a layer counter of this moment, also inside a step.
  virtual engine::EngineStats Stats() const = 0;
};

// The sending end of one session. Thread safe, never blocks.
class FrameSink {
 public:
  virtual ~FrameSink() = default;
  virtual void Send(v1::StepFrame frame) = 0;
  virtual size_t queued() const = 0;  // frames that wait for the peer
  virtual void Abort(const absl::Status& status) = 0;
};

// A sequence began or ended here: metrics and spans.
struct ItemRecord {
  std::string request_id;
  std::string traceparent;
  uint32_t attempt = 0;
  size_t model = 0;
  SteadyTime submitted;
};
using FinishObserver =
    std::function<void(const ItemRecord& item, const engine::StepFinish& finish)>;

// Test only: what happens when the output of an item reaches `after_tokens`.
struct Fault {
  enum class Kind : uint8_t { kNone, kCrash, kHang };
  Kind kind = Kind::kNone;
  uint32_t after_tokens = 1;
};

struct HubOptions {
  std::chrono::milliseconds lease{5'000};      // sequences of a broken session live this long
  std::chrono::milliseconds heartbeat{1'000};  // statistics
  size_t max_pending_tokens = 1u << 20;        // rows held for a slow session before it is closed
  size_t max_pending_kv_bytes = 4u << 20;      // KV events held before a snapshot replaces them
  size_t busy_frames = 4;                      // queued frames from which rows are merged
  // Test only: asked about each new item.
  std::function<Fault(const v1::WorkItem&)> fault;
};

// Thread safe: one lock, held for microseconds. Steps arrive on the engines' threads, frames on
// gRPC's, Tick on a thread of its own.
//
// Rows go out one frame per step and session. While a session is slow, its rows wait here merged in
// one frame; the engine never waits.
class SessionHub {
 public:
  // The engines must outlive the hub; `engines[i]` gives the steps of OnStep(i, …).
  SessionHub(std::string worker_id, std::vector<EnginePort*> engines, const HubOptions& options,
             FinishObserver on_finish, const Clock& clock = Clock::Real());

  // A session after its hello: sends the welcome, credits and statistics. An older session of the
  // same scheduler is over: its sequences are freed at once. FAILED_PRECONDITION when the epoch is
  // not newer than the last one.
  absl::StatusOr<uint64_t> Open(const v1::WorkHello& hello, std::shared_ptr<FrameSink> sink);
  void OnWork(uint64_t session, const v1::WorkFrame& frame);
  void OnClosed(uint64_t session);

  void OnStep(size_t engine, const engine::StepOutput& output);

  // Heartbeats, leases, and rows of sessions that were slow. Returns when to call again.
  SteadyTime Tick();

  // No new work; schedulers are told.
  void BeginDrain();

  size_t sessions() const;
  size_t items() const;

 private:
  struct Session {
    uint64_t id = 0;
    std::string scheduler_id;
    uint64_t epoch = 0;
    std::shared_ptr<FrameSink> sink;  // null: broken, the lease runs
    SteadyTime lease_ends;
    v1::StepFrame pending;
    bool has_pending = false;
    std::unordered_map<uint32_t, uint64_t> by_handle;  // handle -> engine id
    std::vector<uint32_t> in_flight;                   // per engine
    std::vector<bool> needs_snapshot;                  // per engine
    size_t pending_kv_bytes = 0;
  };
  struct Item {
    uint64_t session = 0;
    uint32_t handle = 0;
    ItemRecord record;
    Fault fault;
  };

  void Misbehave(const engine::StepOutput& output);
  v1::StepFrame& Pending(Session& session);
  void Flush(Session& session);
  void FlushAll();
  void GrantCredits();
  void AddStats(v1::StepFrame* frame) const;
  void FreeItems(Session& session);
  void Refuse(Session& session, const v1::WorkItem& item, const absl::Status& why);
  void Submit(Session& session, const v1::WorkItem& item);
  void AddKvEvents(size_t engine, const engine::StepOutput& output);
  uint32_t Credit(size_t engine) const;
  size_t OpenSessions() const;

  const std::string worker_id_;
  const std::vector<EnginePort*> engines_;
  const HubOptions options_;
  const FinishObserver on_finish_;
  const Clock& clock_;

  mutable std::mutex mutex_;  // guards what follows
  std::map<uint64_t, Session> sessions_;
  std::unordered_map<uint64_t, Item> items_;  // by engine id
  std::map<std::string, uint64_t> last_epochs_;
  uint64_t next_session_ = 1;
  uint64_t next_item_ = 1;
  SteadyTime next_heartbeat_;
  bool draining_ = false;
};

}  // namespace weft::worker
