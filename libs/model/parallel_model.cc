#include "libs/model/parallel_model.h"

#include <pthread.h>

#include <algorithm>
#include <atomic>
#include <exception>
#include <mutex>
#include <numeric>
#include <thread>

#include "libs/base/status.h"
#include "libs/comm/wait_point.h"
#include "libs/device/cpu_features.h"
#include "libs/model/model_rank.h"
#include "libs/model/model_source.h"

namespace weft {
namespace {

// Before a waiting rank parks; as a ThreadTeam does.
constexpr std::chrono::microseconds kSpin{100};

using Ranks = std::vector<std::unique_ptr<comm::Communicator>>;

}  // namespace

// What the ranks' threads share. Rank 0 has no thread of its own.
struct ParallelModel::Crew {
  std::vector<ModelRank> ranks;
  size_t vocab = 0;
  uint64_t shared_bytes = 0;  // that every rank counts as its own

  comm::WaitPoint changed;  // what follows has
  std::mutex mutex;         // guards what follows
  std::shared_ptr<const RankStep> step;
  uint64_t steps = 0;
  bool stop = false;
  std::vector<uint64_t> done;  // [ranks]: steps ended
  std::vector<uint8_t> left;   // [ranks]: the thread has ended

  void Loop(size_t rank);

  // Until it is true under the mutex, which is not held meanwhile; false when that took longer.
  template <typename Ready>
  bool Wait(std::chrono::steady_clock::time_point deadline, Ready&& ready) {
    return changed.Wait(
        [&] {
          std::lock_guard lock(mutex);
          return ready();
        },
        std::chrono::microseconds(0), deadline);
  }
};

void ParallelModel::Crew::Loop(size_t rank) {
  pthread_setname_np(pthread_self(), fmt::format("weft-rank-{}", rank).c_str());
  constexpr auto kNever = std::chrono::steady_clock::time_point::max();
  uint64_t seen = 0;
  bool stopping = false;
  std::shared_ptr<const RankStep> now;
  while (true) {
    Wait(kNever, [&] {
      stopping = stop;
      if (!stop && steps == seen) return false;
      seen = steps;
      now = step;
      return true;
    });
    if (stopping) break;
    // An error is in the group's fate.
    (void)ranks[rank].Run(*now, {}, vocab);
    now.reset();
    {
      std::lock_guard lock(mutex);
      done[rank] = seen;
    }
    changed.Notify();
  }
  {
    std::lock_guard lock(mutex);
    left[rank] = 1;
  }
  changed.Notify();
}

namespace {

absl::Status MakeStages(const ParallelOptions& options, comm::InProcessOptions make,
                        Ranks& stages) {
  make.size = options.group.tensor;
  for (size_t first = 0; first < stages.size(); first += static_cast<size_t>(make.size)) {
    WEFT_ASSIGN_OR_RETURN(Ranks stage, options.make_group(make));
    std::move(stage.begin(), stage.end(), stages.begin() + static_cast<std::ptrdiff_t>(first));
  }
  return absl::OkStatus();
}

absl::Status MakeGroups(const ParallelOptions& options, bool spin, std::vector<ModelRank>& ranks) {
  const Parallelism& group = options.group;
  comm::InProcessOptions make{.size = group.ranks(),
                              .timeout = options.timeout,
                              .spin = spin ? kSpin : std::chrono::microseconds(0),
                              .fate = comm::MakeFate()};
  WEFT_ASSIGN_OR_RETURN(Ranks all, options.make_group(make));
  Ranks stages(ranks.size());
  if (group.pipeline > 1) WEFT_RETURN_IF_ERROR(MakeStages(options, make, stages));
  for (size_t r = 0; r < ranks.size(); ++r) {
    ranks[r].SetGroups(std::move(all[r]), std::move(stages[r]));
  }
  return absl::OkStatus();
}

// All ranks at the same time, each with `options` and its shard.
absl::Status LoadRanks(const ModelSource& source, const ModelOptions& options,
                       std::vector<ModelRank>& ranks) {
  std::vector<absl::Status> results(ranks.size());
  const auto load = [&](size_t r) {
    ModelOptions own = options;
    own.rank = &ranks[r].shard;
    if (r > 0) own.progress = nullptr;
    absl::StatusOr<std::unique_ptr<Model>> model = Model::Load(source, own);
    if (model.ok()) {
      ranks[r].model = *std::move(model);
    } else {
      results[r] = model.status();
    }
  };
  std::vector<std::thread> threads;
  for (size_t r = 1; r < ranks.size(); ++r) threads.emplace_back(load, r);
  load(0);
  for (std::thread& thread : threads) thread.join();
  for (const absl::Status& status : results) WEFT_RETURN_IF_ERROR(status);
  return absl::OkStatus();
}

absl::Status CheckParallelMemory(const ModelSource& source, const ModelOptions& options,
                                 int32_t tensor) {
  if (!options.memory || options.table != ModelOptions::Table::kCpu) return absl::OkStatus();
  ModelConfig config = source.config;
  config.LimitContext(options.context_length);
  config.kv_heads = std::max(config.kv_heads, tensor);  // copies of heads are cached too
  const MemoryNeed need = EstimateMemory(config, *source.tensors, *options.memory, options.kv_type);
  return CheckMemory(need, ReadAvailableMemory());
}

}  // namespace

absl::StatusOr<std::unique_ptr<ParallelModel>> ParallelModel::Load(
    const std::string& path, const ModelOptions& options, const ParallelOptions& parallel) {
  WEFT_ASSIGN_OR_RETURN(const ModelSource source, ModelSource::Open(path));
  absl::StatusOr<std::unique_ptr<ParallelModel>> model = Load(source, options, parallel);
  if (!model.ok()) return Annotate(model.status(), path);
  return model;
}

absl::StatusOr<std::unique_ptr<ParallelModel>> ParallelModel::Load(
    const ModelSource& source, const ModelOptions& options, const ParallelOptions& parallel) {
  WEFT_RETURN_IF_ERROR(parallel.group.Validate());
  WEFT_RETURN_IF_ERROR(CheckParallelMemory(source, options, parallel.group.tensor));
  const int32_t count = parallel.group.ranks();
  const auto crew = std::make_shared<Crew>();
  crew->ranks = std::vector<ModelRank>(static_cast<size_t>(count));
  for (int32_t r = 0; r < count; ++r) {
    WEFT_ASSIGN_OR_RETURN(crew->ranks[static_cast<size_t>(r)].shard.plan,
                          PlanShard(source.config, parallel.group, r));
  }
  ModelOptions own = options;
  const int all_threads = options.threads == 0 ? AvailableCpus() : options.threads;
  own.threads = all_threads < 0 ? all_threads : std::max(1, all_threads / count);
  own.memory.reset();
  own.repack_cache = {};
  if (options.progress) {
    own.progress = [&](const LoadProgress& rank) {
      const uint64_t bytes = rank.bytes * static_cast<uint64_t>(count);
      options.progress({.bytes = std::min(bytes, rank.all), .all = rank.all});
    };
  }
  const bool spin = own.threads * count <= AvailableCpus();
  WEFT_RETURN_IF_ERROR(MakeGroups(parallel, spin, crew->ranks));
  WEFT_RETURN_IF_ERROR(LoadRanks(source, own, crew->ranks));

  ModelConfig config = source.config;
  const ModelConfig& limited = crew->ranks[0].model->config();
  config.context_length = limited.context_length;
  config.rope_scaling = limited.rope_scaling;
  crew->vocab = static_cast<size_t>(config.vocab);
  if (options.table == ModelOptions::Table::kRef) crew->shared_bytes = source.tensors->bytes();
  crew->done.resize(crew->ranks.size());
  crew->left.resize(crew->ranks.size());
  return std::unique_ptr<ParallelModel>(new ParallelModel(std::move(config), parallel, crew));
}

ParallelModel::ParallelModel(ModelConfig config, const ParallelOptions& options,
                             std::shared_ptr<Crew> crew)
    : config_(std::move(config)), options_(options), crew_(std::move(crew)) {
  for (size_t r = 1; r < crew_->ranks.size(); ++r) {
    threads_.emplace_back([crew = crew_, r] { crew->Loop(r); });
  }
}

ParallelModel::~ParallelModel() {
  Crew& crew = *crew_;
  {
    std::lock_guard lock(crew.mutex);
    crew.stop = true;
  }
  crew.changed.Notify();
  std::vector<uint8_t> left;
  crew.Wait(std::chrono::steady_clock::now() + options_.timeout, [&] {
    left = crew.left;
    return std::all_of(left.begin() + 1, left.end(), [](uint8_t one) { return one != 0; });
  });
  for (size_t i = 0; i < threads_.size(); ++i) {
    if (left[i + 1] != 0) {
      threads_[i].join();
    } else {
      threads_[i].detach();
    }
  }
}

absl::Status ParallelModel::AllocateKv(int32_t blocks, int32_t block_tokens) {
  WEFT_RETURN_IF_ERROR(health());
  for (ModelRank& rank : crew_->ranks) {
    WEFT_RETURN_IF_ERROR(rank.model->AllocateKv(blocks, block_tokens));
  }
  return absl::OkStatus();
}

absl::Status ParallelModel::Forward(const StepBatch& batch, std::span<float> logits) {
  WEFT_RETURN_IF_ERROR(health());
  Crew& crew = *crew_;
  ModelRank& own = crew.ranks[0];
  WEFT_RETURN_IF_ERROR(own.model->Check(batch, logits));
  const auto step = std::make_shared<const RankStep>(batch, options_.group.pipeline);
  {
    std::lock_guard lock(crew.mutex);
    crew.step = step;
    ++crew.steps;
  }
  crew.changed.Notify();
  // After an error nobody waits for anybody: the ranks keep the step for themselves.
  if (!own.Run(*step, logits, crew.vocab).ok()) return health();
  int64_t late = 0;  // a rank that has not ended its step; the end of the ranks when all have
  const bool ended = crew.Wait(std::chrono::steady_clock::now() + options_.timeout, [&] {
    late = std::find_if(crew.done.begin() + 1, crew.done.end(),
                        [&](uint64_t done) { return done != crew.steps; }) -
           crew.done.begin();
    if (late != static_cast<int64_t>(crew.done.size())) return false;
    crew.step.reset();
    return true;
  });
  if (!ended) {
    own.all->Abort(
        Unavailable("rank {} has not ended its step for {} ms", late, options_.timeout.count()));
  }
  return health();
}

absl::Status ParallelModel::health() const { return crew_->ranks[0].all->status(); }

uint64_t ParallelModel::KvBytesPerBlock(int32_t block_tokens) const {
  uint64_t sum = 0;
  for (const ModelRank& rank : crew_->ranks) sum += rank.model->KvBytesPerBlock(block_tokens);
  return sum;
}

uint64_t ParallelModel::layer_progress() const {
  uint64_t sum = 0;
  for (const ModelRank& rank : crew_->ranks) sum += rank.model->layer_progress();
  return sum;
}

std::string ParallelModel::weights_sha256() const {
  return crew_->ranks[0].model->weights_sha256();
}
std::string ParallelModel::quantization() const { return crew_->ranks[0].model->quantization(); }

std::string ParallelModel::numerics_class() const {
  // Stages leave no trace in the bits; the number of parts of a sum does.
  const std::string one = crew_->ranks[0].model->numerics_class();
  return options_.group.tensor == 1 ? one : fmt::format("{}/tp{}", one, options_.group.tensor);
}

uint64_t ParallelModel::memory_bytes() const {
  uint64_t sum = 0;
  for (const ModelRank& rank : crew_->ranks) sum += rank.model->memory_bytes();
  return sum - crew_->shared_bytes * (crew_->ranks.size() - 1);
}

uint64_t ParallelModel::parameter_count() const { return crew_->ranks[0].model->parameter_count(); }

int32_t ParallelModel::threads() const {
  int32_t sum = 0;
  for (const ModelRank& rank : crew_->ranks) sum += rank.model->threads();
  return sum;
}

std::string ParallelModel::isa() const { return crew_->ranks[0].model->isa(); }

}  // namespace weft
