#include "services/worker/model_host.h"

#include <chrono>
#include <utility>

#include "libs/base/clock.h"
#include "libs/base/status.h"
#include "libs/gguf/gguf.h"
#include "libs/model/model.h"
#include "libs/model/model_source.h"
#include "libs/model/parallel_model.h"
#include "libs/model/process_model.h"
#include "libs/ops/open_device.h"
#include "libs/tokenizer/model_metadata.h"
#include "libs/tokenizer/tokenizer.h"
#include "services/worker/end.h"
#include "services/worker/rank_groups.h"

namespace weft::worker {

absl::StatusOr<std::unique_ptr<ModelHost>> ModelHost::Load(
    const ModelEntry& entry, const Config& config,
    const std::function<void(const LoadProgress&)>& progress,
    const std::function<bool()>& stopped) {
  const SteadyTime begin = Clock::Real().Now();
  WEFT_ASSIGN_OR_RETURN(const auto metadata, OpenModelMetadata(entry.path));
  std::unique_ptr<ModelHost> host(new ModelHost());
  host->tokenizer_bytes_ = SerializeMetadata(*metadata);
  WEFT_ASSIGN_OR_RETURN(host->tokenizer_, Tokenizer::FromGguf(*metadata));

  ModelOptions model_options;
  model_options.isa = config.isa;
  model_options.threads = config.threads;
  model_options.kv_type = config.kv_type;
  model_options.repack_cache = config.repack_cache;
  uint64_t weight_bytes = 0;
  model_options.progress = [&](const LoadProgress& now) {
    weight_bytes = now.all;
    progress(now);
  };
  model_options.memory = MemoryPlan{.kv_bytes = config.kv_bytes,
                                    .sequences = static_cast<int32_t>(config.max_sequences),
                                    .step_rows = static_cast<int32_t>(config.token_budget)};
  WEFT_ASSIGN_OR_RETURN(model_options.device, OpenOpDevice(config.device, config.numerics));
  if (model_options.device != nullptr) {
    model_options.table = ModelOptions::Table::kGpu;
    model_options.max_step_rows = config.token_budget;
    model_options.max_step_sequences = config.max_sequences;
    model_options.device_reserve_bytes = config.device_reserve_bytes;
    model_options.weights_bf16 = config.weights_bf16;
    host->pci_bus_id_ = model_options.device->device().info().pci_bus_id;
  }
  host->weights_from_ = "repacked";
  std::unique_ptr<ModelRunner> model;
  const SteadyTime load_begin = Clock::Real().Now();
  if (config.ranks > 1) {
    if (!config.repack_cache.folder.empty()) {
      host->cache_problem_ = FailedPrecondition("parts of a model are not kept");
    }
    WEFT_ASSIGN_OR_RETURN(const ModelSource source, ModelSource::Open(entry.path));
    ProcessRankOptions rank = RankOptions(config, source, stopped);
    rank.gone = [path = entry.path](const absl::Status& reason) { End(path, reason); };
    WEFT_ASSIGN_OR_RETURN(auto leading, LeadingModel::Load(source, model_options, rank));
    host->Describe(*leading);
    model = std::move(leading);
  } else if (config.parallel.ranks() > 1) {
    if (!config.repack_cache.folder.empty()) {
      host->cache_problem_ = FailedPrecondition("parts of a model are not kept");
    }
    // Half: so that it can be told before the watch over the whole engine ends the worker.
    WEFT_ASSIGN_OR_RETURN(auto ranks, ParallelModel::Load(entry.path, model_options,
                                                          {.group = config.parallel,
                                                           .timeout = config.hang_timeout / 2}));
    host->Describe(*ranks);
    model = std::move(ranks);
  } else {
    WEFT_ASSIGN_OR_RETURN(auto one, Model::Load(entry.path, model_options));
    const Model::RepackStatus& repacked = one->repack_status();
    using Kind = Model::RepackStatus::Kind;
    if (repacked.kind == Kind::kMapped) host->weights_from_ = "cache";
    if (repacked.kind == Kind::kMade) host->weights_from_ = "repacked and kept";
    host->cache_problem_ = repacked.problem;
    host->Describe(*one);
    if (model_options.device != nullptr) host->weights_from_ = "copied";
    host->load_bytes_per_second_ = one->load_bytes_per_second();
    model = std::move(one);
  }
  const std::chrono::duration<double> took = Clock::Real().Now() - load_begin;
  if (host->load_bytes_per_second_ == 0 && took.count() > 0) {
    host->load_bytes_per_second_ = static_cast<double>(weight_bytes) / took.count();
  }

  v1::ModelInfo& info = host->info_;
  info.set_id(entry.id.empty() ? DefaultModelName(*metadata, entry.path) : entry.id);
  info.set_weights_sha256(model->weights_sha256());
  info.set_version(info.weights_sha256().substr(0, 12));
  info.set_architecture(model->config().architecture);
  info.set_quantization(model->quantization());
  info.set_vocab_size(static_cast<uint32_t>(model->config().vocab));
  info.set_tokenizer_sha256(MetadataSha256(*metadata));
  info.set_numerics_class(model->numerics_class());

  engine::EngineOptions options;
  options.max_sequences = config.max_sequences;
  options.token_budget = config.token_budget;
  options.max_waiting = static_cast<size_t>(config.max_sequences) * 4;
  options.max_waiting_per_key = options.max_waiting;
  options.kv_bytes = config.kv_bytes;
  // The first of several models would take what the others need.
  if (model_options.device != nullptr && config.AllModels().size() == 1) {
    options.kv_memory_fraction = config.kv_memory_fraction;
  }
  options.prefix_cache = config.prefix_cache;
  options.target_step = config.target_step;
  options.eos_ids = host->tokenizer_->end_of_generation_ids();
  WEFT_ASSIGN_OR_RETURN(host->engine_, engine::Engine::Create(std::move(model), options));
  host->running_ = host->engine_.get();
  info.set_context_length(static_cast<uint32_t>(host->running_->max_context_tokens()));
  info.set_memory_bytes(host->running_->model().memory_bytes());
  info.set_loaded_at_unix(UnixSeconds(Clock::Real().Wall()));
  host->kv_blocks_ = host->running_->stats().kv_blocks_total;
  host->load_seconds_ = std::chrono::duration<double>(Clock::Real().Now() - begin).count();
  return host;
}

template <typename Loaded>
void ModelHost::Describe(const Loaded& model) {
  isa_ = model.isa();
  threads_ = model.threads();
  info_.set_parameter_count(model.parameter_count());
}

void ModelHost::Start(engine::StepSink sink) {
  loop_ = std::make_unique<engine::EngineLoop>(std::move(engine_), std::move(sink));
  loop_->Start();
}

void ModelHost::BeginDrain() { loop_->BeginDrain(); }
bool ModelHost::WaitDrained(std::chrono::nanoseconds timeout) {
  return loop_->WaitDrained(timeout);
}
void ModelHost::Stop() {
  if (loop_) loop_->Stop();
}

uint32_t ModelHost::max_sequences() const {
  return static_cast<uint32_t>(running_->options().max_sequences);
}
absl::Status ModelHost::Submit(engine::WorkItem item) { return running_->Submit(std::move(item)); }
void ModelHost::Cancel(std::span<const uint64_t> ids) { running_->Cancel(ids); }
void ModelHost::RequestKvSnapshot() { running_->RequestKvSnapshot(); }
engine::EngineProgress ModelHost::progress() const { return running_->progress(); }

engine::EngineStats ModelHost::Stats() const {
  engine::EngineStats stats = running_->stats();
  const engine::EngineProgress now = running_->progress();
  stats.steps = now.steps;
  stats.layer_progress = now.layers;
  // Statistics are those of the last step: a first long prefill must not look idle.
  if (now.busy && stats.running + stats.waiting == 0) stats.waiting = 1;
  return stats;
}

}  // namespace weft::worker
