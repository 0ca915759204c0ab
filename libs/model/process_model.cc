#include "libs/model/process_model.h"

#include <algorithm>
#include <array>
#include <condition_variable>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

#include "libs/base/status.h"
#include "libs/model/memory.h"
#include "libs/model/model_rank.h"
#include "libs/model/step_wire.h"

namespace weft {
namespace {

enum class Order : uint32_t { kNone, kAllocate, kStep, kEnd };

// What rank 0 says, to all at once; a step's bytes follow.
struct Command {
  Order order = Order::kNone;
  int32_t blocks = 0, block_tokens = 0;
  uint32_t step_bytes = 0;
};

// A follower takes nothing larger: steps of the largest token budget over the longest contexts.
constexpr uint32_t kMostStepBytes = 256u << 20;

std::span<std::byte> BytesOf(Command& command) {
  return std::as_writable_bytes(std::span(&command, 1));
}

// The rank with its weights and its groups.
absl::Status LoadRank(const ModelSource& source, const ModelOptions& options,
                      const ProcessRankOptions& process, ModelRank& rank) {
  WEFT_RETURN_IF_ERROR(process.Validate());
  WEFT_ASSIGN_OR_RETURN(rank.shard.plan, PlanShard(source.config, process.group, process.rank));
  ModelOptions own = options;
  own.repack_cache = {};
  own.memory.reset();
  own.rank = &rank.shard;
  WEFT_ASSIGN_OR_RETURN(rank.model, Model::Load(source, own));
  WEFT_ASSIGN_OR_RETURN(RankGroups groups, process.join());
  const comm::Communicator& all = *groups.all;
  if (all.rank() != process.rank || all.size() != process.group.ranks()) {
    return Internal("rank {} of {} has joined as {} of {}", process.rank, process.group.ranks(),
                    all.rank(), all.size());
  }
  rank.SetGroups(std::move(groups.all), std::move(groups.stage));
  return absl::OkStatus();
}

}  // namespace

absl::Status ProcessRankOptions::Validate() const {
  WEFT_RETURN_IF_ERROR(group.Validate());
  if (rank < 0 || rank >= group.ranks()) {
    return InvalidArgument("rank: expected a value in [0, {}), found {}", group.ranks(), rank);
  }
  if (!join) return InvalidArgument("join: it is empty");
  if (heartbeat.count() < 1) return InvalidArgument("heartbeat: {} ms", heartbeat.count());
  return absl::OkStatus();
}

struct LeadingModel::State {
  ModelRank rank;
  ModelConfig config;   // of the whole model
  ModelConfig largest;  // of the rank that caches the most
  ProcessRankOptions options;

  std::mutex mutex;  // one at a time speaks to the others; guards what follows
  std::vector<std::byte> bytes;
  std::condition_variable stop;
  bool stopping = false;
  std::thread heart;

  // With the mutex.
  absl::Status Say(Command command) { return rank.all->Broadcast(BytesOf(command), 0); }
  void Beat();
};

void LeadingModel::State::Beat() {
  std::unique_lock lock(mutex);
  while (!stop.wait_for(lock, options.heartbeat, [this] { return stopping; })) {
    const absl::Status status = Say({});
    if (status.ok()) continue;
    lock.unlock();
    if (options.gone) options.gone(status);
    return;
  }
}

LeadingModel::LeadingModel(std::unique_ptr<State> state) : state_(std::move(state)) {
  state_->heart = std::thread([s = state_.get()] { s->Beat(); });
}

LeadingModel::~LeadingModel() {
  State& s = *state_;
  {
    std::lock_guard lock(s.mutex);
    s.stopping = true;
    if (s.rank.all->status().ok()) (void)s.Say({.order = Order::kEnd});
  }
  s.stop.notify_all();
  s.heart.join();
}

absl::StatusOr<std::unique_ptr<LeadingModel>> LeadingModel::Load(const std::string& path,
                                                                 const ModelOptions& options,
                                                                 const ProcessRankOptions& rank) {
  WEFT_ASSIGN_OR_RETURN(const ModelSource source, ModelSource::Open(path));
  auto model = Load(source, options, rank);
  if (!model.ok()) return Annotate(model.status(), path);
  return model;
}

absl::StatusOr<std::unique_ptr<LeadingModel>> LeadingModel::Load(const ModelSource& source,
                                                                 const ModelOptions& options,
                                                                 const ProcessRankOptions& rank) {
  if (rank.rank != 0) return InvalidArgument("rank: {} does not lead", rank.rank);
  auto state = std::make_unique<State>();
  state->options = rank;
  WEFT_RETURN_IF_ERROR(LoadRank(source, options, rank, state->rank));
  const ModelConfig& limited = state->rank.model->config();
  state->config = source.config;
  state->config.context_length = limited.context_length;
  state->config.rope_scaling = limited.rope_scaling;
  for (int32_t r = 0; r < rank.group.ranks(); ++r) {
    WEFT_ASSIGN_OR_RETURN(const ShardPlan plan, PlanShard(source.config, rank.group, r));
    const ModelConfig own = LocalConfig(source.config, plan);
    if (r == 0 || KvBytesPerToken(own) > KvBytesPerToken(state->largest)) state->largest = own;
  }
  return std::unique_ptr<LeadingModel>(new LeadingModel(std::move(state)));
}

const ModelConfig& LeadingModel::config() const { return state_->config; }

absl::Status LeadingModel::AllocateKv(int32_t blocks, int32_t block_tokens) {
  State& s = *state_;
  std::lock_guard lock(s.mutex);
  WEFT_RETURN_IF_ERROR(
      s.Say({.order = Order::kAllocate, .blocks = blocks, .block_tokens = block_tokens}));
  const absl::Status own = s.rank.model->AllocateKv(blocks, block_tokens);
  if (!own.ok()) s.rank.all->Abort(own);
  WEFT_RETURN_IF_ERROR(own);
  // Or the reason of a rank that has no memory for them.
  return s.rank.all->Barrier();
}

uint64_t LeadingModel::KvBytesPerBlock(int32_t block_tokens) const {
  const State& s = *state_;
  const auto own = KvBytesPerToken(s.rank.model->config());
  return s.rank.model->KvBytesPerBlock(block_tokens) / std::max<uint64_t>(own, 1) *
         KvBytesPerToken(s.largest);
}

absl::Status LeadingModel::Forward(const StepBatch& batch, std::span<float> logits) {
  State& s = *state_;
  WEFT_RETURN_IF_ERROR(s.rank.model->Check(batch, logits));
  const RankStep step(batch, s.options.group.pipeline);
  std::lock_guard lock(s.mutex);
  EncodeStep(batch, s.bytes);
  if (s.bytes.size() > kMostStepBytes) {
    return InvalidArgument("a step of {} bytes: at most {}", s.bytes.size(), kMostStepBytes);
  }
  WEFT_RETURN_IF_ERROR(
      s.Say({.order = Order::kStep, .step_bytes = static_cast<uint32_t>(s.bytes.size())}));
  WEFT_RETURN_IF_ERROR(s.rank.all->Broadcast(s.bytes, 0));
  (void)s.rank.Run(step, logits, static_cast<size_t>(s.config.vocab));
  return health();
}

absl::Status LeadingModel::health() const { return state_->rank.all->status(); }
uint64_t LeadingModel::layer_progress() const { return state_->rank.model->layer_progress(); }
std::string LeadingModel::weights_sha256() const { return state_->rank.model->weights_sha256(); }
std::string LeadingModel::quantization() const { return state_->rank.model->quantization(); }

std::string LeadingModel::numerics_class() const {
  const std::string one = state_->rank.model->numerics_class();
  const int32_t tensor = state_->options.group.tensor;
  return tensor == 1 ? one : fmt::format("{}/tp{}", one, tensor);
}

uint64_t LeadingModel::memory_bytes() const { return state_->rank.model->memory_bytes(); }
uint64_t LeadingModel::parameter_count() const { return state_->rank.model->parameter_count(); }
int32_t LeadingModel::threads() const { return state_->rank.model->threads(); }
std::string LeadingModel::isa() const { return state_->rank.model->isa(); }

struct FollowingRank::State {
  ModelRank rank;
  ProcessRankOptions options;
  size_t vocab = 0;
};

FollowingRank::FollowingRank(std::unique_ptr<State> state) : state_(std::move(state)) {}
FollowingRank::~FollowingRank() = default;

absl::StatusOr<std::unique_ptr<FollowingRank>> FollowingRank::Load(const std::string& path,
                                                                   const ModelOptions& options,
                                                                   const ProcessRankOptions& rank) {
  WEFT_ASSIGN_OR_RETURN(const ModelSource source, ModelSource::Open(path));
  auto model = Load(source, options, rank);
  if (!model.ok()) return Annotate(model.status(), path);
  return model;
}

absl::StatusOr<std::unique_ptr<FollowingRank>> FollowingRank::Load(const ModelSource& source,
                                                                   const ModelOptions& options,
                                                                   const ProcessRankOptions& rank) {
  if (rank.rank == 0) return InvalidArgument("rank: 0 does not follow");
  auto state = std::make_unique<State>();
  state->options = rank;
  state->vocab = static_cast<size_t>(source.config.vocab);
  WEFT_RETURN_IF_ERROR(LoadRank(source, options, rank, state->rank));
  return std::unique_ptr<FollowingRank>(new FollowingRank(std::move(state)));
}

absl::Status FollowingRank::Run() {
  State& s = *state_;
  comm::Communicator& all = *s.rank.all;
  const auto give_up = [&](const absl::Status& reason) {
    all.Abort(reason);
    return reason;
  };
  std::vector<std::byte> bytes;
  OwnedStep step;
  while (true) {
    Command command;
    WEFT_RETURN_IF_ERROR(all.Broadcast(BytesOf(command), 0));
    switch (command.order) {
      case Order::kNone:
        continue;
      case Order::kEnd:
        return absl::OkStatus();
      case Order::kAllocate: {
        const absl::Status own = s.rank.model->AllocateKv(command.blocks, command.block_tokens);
        if (!own.ok()) return give_up(own);
        WEFT_RETURN_IF_ERROR(all.Barrier());
        continue;
      }
      case Order::kStep: {
        if (command.step_bytes > kMostStepBytes) {
          return give_up(Internal("a step of {} bytes", command.step_bytes));
        }
        bytes.resize(command.step_bytes);
        WEFT_RETURN_IF_ERROR(all.Broadcast(bytes, 0));
        absl::Status good = DecodeStep(bytes, step);
        if (good.ok()) good = s.rank.model->Check(step.batch);
        if (!good.ok()) return give_up(good);
        WEFT_RETURN_IF_ERROR(
            s.rank.Run(RankStep(step.batch, s.options.group.pipeline), {}, s.vocab));
        continue;
      }
    }
    return give_up(Internal("order {} of rank 0", static_cast<uint32_t>(command.order)));
  }
}

void FollowingRank::Abort(const absl::Status& reason) { state_->rank.all->Abort(reason); }
uint64_t FollowingRank::layer_progress() const { return state_->rank.model->layer_progress(); }

}  // namespace weft
