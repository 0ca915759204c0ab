// The scheduler's state of one sequence. Owned by the dispatcher and touched on its thread only.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "services/scheduler/ports.h"
#include "services/scheduler/text_assembler.h"
#include "services/scheduler/token_log.h"

namespace weft::scheduler {

struct Model;

enum class RequestState {
  kParked,     // waits for a worker that tells what models there are
  kPreparing,  // being tokenised
  kQueued,     // in the fair queue: never ran
  kAgain,      // ran on a worker that was lost; goes before the fair queue
  kSuspect,    // present at two losses; waits to run alone
  kRunning,    // on `link` as `worker_handle`
};

struct Request {
  uint64_t id = 0;
  uint64_t session = 0;
  uint32_t handle = 0;
  std::shared_ptr<const v1::Submit> submit;
  RequestState state = RequestState::kParked;
  Model* model = nullptr;

  // Set once prepared.
  std::vector<uint32_t> prompt_ids;
  std::vector<kv::PrefixKey> prefix;
  std::shared_ptr<const TokenText> text;
  std::unique_ptr<TextAssembler> assembler;
  v1::SamplingParams sampling;  // seed set, max_tokens within the context
  // What it was prepared for. The version is that of its first token, once there is one.
  v1::ModelInfo info;

  TokenLog log;
  uint64_t link = 0;
  uint32_t worker_handle = 0;
  std::string numerics_class;  // of the worker of the last attempt
  uint32_t attempts = 0;       // dispatches
  uint32_t losses = 0;         // workers lost under it since it last proved innocent
  size_t log_at_loss = 0;      // the longest log at those

  uint64_t share_key = 0;
  double weight = 1.0;
  SteadyTime arrived;
  SteadyTime waiting_since;
  std::optional<SteadyTime> deadline;
  std::chrono::nanoseconds queued{0};
  std::optional<SteadyTime> first_token;
  uint32_t cached_prompt_tokens = 0;
  bool truncated = false;      // fill-in: not all of it is in prompt_ids
  uint32_t prompt_scored = 0;  // position of the last prompt token whose entry was delivered
  bool started = false;
  std::unique_ptr<RequestTrace> trace;
};

}  // namespace weft::scheduler
