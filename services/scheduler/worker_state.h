// What the dispatcher knows about workers and models. Owned by its thread.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <string>
#include <unordered_map>

#include "libs/batching/fair_queue.h"
#include "services/scheduler/prefix_index.h"
#include "services/scheduler/request.h"
#include "weft/v1/worker.pb.h"

namespace weft::scheduler {

// Where an engine stood when it was given up.
struct Standstill {
  uint64_t layers = 0;
  uint64_t steps = 0;
};

// One model on one worker.
struct LinkModel {
  v1::ModelInfo info;
  uint32_t max_sequences = 0;  // credits
  uint64_t max_blocks = 0;
  uint32_t in_flight = 0;
  std::unordered_map<uint64_t, uint32_t> tenants;  // of those, by share key; no zeros
  uint32_t prefilling = 0;                         // of those, without a first token yet
  uint64_t blocks = 0;
  uint64_t pending_prefill = 0;  // tokens whose prefill has not ended
  uint64_t recompute = 0;        // of those, for sequences that were lost elsewhere
  SteadyTime refused_until{};    // after it refused work within its credits
  v1::EngineStats stats;
  SteadyTime moved{};  // when `stats` last showed progress, or it was idle
  // Set on a new session of a worker whose engine was given up: it gets no work until it moves.
  std::optional<Standstill> stands;
  PrefixIndex prefixes;
};

// One sequence on a worker, until the worker says that it is over there.
struct Assignment {
  Request* request = nullptr;  // null: over here, its cancel is on the way
  std::string model;
  uint64_t share_key = 0;
  uint64_t blocks = 0;
  uint64_t prefill = 0;  // 0 once the first token came
  bool recompute = false;
};

// A session with a worker, after its welcome.
struct WorkerLink {
  uint64_t id = 0;
  std::string worker_id;
  uint32_t block_tokens = 64;
  std::map<std::string, LinkModel> models;
  std::unordered_map<uint32_t, Assignment> in_flight;
  uint32_t next_handle = 1;
  bool draining = false;
  bool reserved = false;        // being emptied for a suspect
  Request* isolated = nullptr;  // the suspect that runs here alone
  SteadyTime last_frame;
  v1::WorkFrame pending;
  bool writable = true;
};

struct Model {
  explicit Model(std::string id, const batching::FairQueueOptions& options)
      : id(std::move(id)), queue(options) {}

  const std::string id;
  v1::ModelInfo info;  // of the worker that welcomed last
  batching::FairQueue queue;
  std::deque<Request*> again;
  std::deque<Request*> suspects;
  std::optional<SteadyTime> gathering_since;  // the first arrival of this window
  bool window_open = false;
  std::optional<SteadyTime> without_worker_since;
};

}  // namespace weft::scheduler
