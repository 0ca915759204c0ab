#include "libs/model/model.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <limits>
#include <mutex>
#include <thread>
#include <vector>

#include "libs/base/status.h"
#include "libs/device/cpu_features.h"
#include "libs/device/thread_team.h"
#include "libs/gguf/gguf.h"
#include "libs/model/model_source.h"
#include "libs/model/model_steps.h"
#include "libs/model/rank_link.h"
#include "libs/model/transformer.h"
#include "libs/model/weights.h"
#include "libs/ops/op_device.h"

namespace weft {
namespace {

constexpr int32_t kMaxThreads = 1024;
// Rows of a step on a device: a dimension of its kernels' grids.
constexpr int32_t kMaxDeviceRows = 32'768;
// Rows whose logits leave a device at once. More take one wait for each so many.
constexpr int32_t kLogitRows = 256;
// Counts changes of the kernels' results; part of the numerics class.
constexpr int kKernelRevision = 1;

// Zeroed pages that take memory only once they are touched.
class Pages {
 public:
  Pages() = default;
  Pages(const Pages&) = delete;
  Pages& operator=(const Pages&) = delete;
  ~Pages() { Free(); }

  absl::Status Allocate(uint64_t bytes) {
    Free();
    void* memory = mmap(nullptr, bytes, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED) return ResourceExhausted("no memory for {} bytes of KV pages", bytes);
    data_ = static_cast<uint8_t*>(memory);
    bytes_ = bytes;
    return absl::OkStatus();
  }
  void Free() {
    if (data_ != nullptr) munmap(data_, bytes_);
    data_ = nullptr;
    bytes_ = 0;
  }
  uint8_t* data() const { return data_; }
  uint64_t bytes() const { return bytes_; }

 private:
  uint8_t* data_ = nullptr;
  uint64_t bytes_ = 0;
};

absl::Status CheckOptions(const ModelOptions& options) {
  if (options.threads < 0 || options.threads > kMaxThreads) {
    return InvalidArgument("threads: expected a value in [0, {}], found {}", kMaxThreads,
                           options.threads);
  }
  if (options.context_length < 0) {
    return InvalidArgument("context_length: expected 0 or more, found {}", options.context_length);
  }
  const bool ref = options.table == ModelOptions::Table::kRef;
  const DType kv = options.kv_type;
  const bool gpu = options.table == ModelOptions::Table::kGpu;
  if (gpu != (options.device != nullptr)) {
    return InvalidArgument("device: {}", gpu ? "kGpu needs one" : "only kGpu takes one");
  }
  if (gpu && (options.max_step_rows < 1 || options.max_step_rows > kMaxDeviceRows ||
              options.max_step_sequences < 1)) {
    return InvalidArgument(
        "max_step_rows, max_step_sequences: expected 1 to {} rows and at least 1 sequence, found "
        "{} and {}",
        kMaxDeviceRows, options.max_step_rows, options.max_step_sequences);
  }
  if (gpu && options.rank != nullptr) return Unimplemented("several ranks on devices");
  const bool known = kv == DType::kF16 || kv == DType::kBF16 || kv == DType::kQ8_0;
  if (!known && !(ref && kv == DType::kF32) && !(gpu && kv == DType::kF8E4M3)) {
    return InvalidArgument("kv_type: expected F16, BF16{} or Q8_0, found {}",
                           ref   ? ", F32"
                           : gpu ? ", F8_E4M3"
                                 : "",
                           Name(kv));
  }
  return absl::OkStatus();
}

std::string_view ActivationType(const OpTable& table) {
  return table.name == "ref" ? "F32" : table.name == "gpu" ? "BF16" : "I8x32";
}

}  // namespace

struct Model::State {
  std::shared_ptr<OpDevice> device;  // null: the host
  int32_t max_rows = 1 << 20;        // of a step
  int32_t max_sequences = std::numeric_limits<int32_t>::max();
  uint64_t device_reserve_bytes = 0;
  std::shared_ptr<const TensorSource> tensors;
  ModelConfig config;
  const OpTable* table = nullptr;
  std::string isa;
  std::unique_ptr<ThreadTeam> team;
  OpContext context;
  ModelWeights weights;
  std::unique_ptr<RankLink> link;  // one rank of several
  std::unique_ptr<Transformer> transformer;
  bool graphs = true;
  bool weights_bf16 = false;
  std::unique_ptr<ModelSteps> steps;  // on a device, with its pages

  KvShape shape;
  int32_t kv_blocks = 0;
  Pages kv_pages;
  std::vector<KvLayer> cache;
  std::atomic<uint64_t> kv_bytes{0};
  std::atomic<uint64_t> progress{0};

  std::once_flag hashed;
  std::string sha256;
  RepackStatus repack;

  // The hash of the weights, and what was repacked, from or to the cache.
  void Keep(const RepackCache& cache);
  const std::string& WeightsSha256();
  absl::Status Check(const StepBatch& batch) const;
  absl::Status Check(const StepBatch& batch, std::span<float> logits) const;
  absl::Status CheckSequence(const StepBatch& batch, size_t index) const;
  absl::Status LoadOnDevice(const WeightSource& source);
  size_t edits_of_step() const {
    return static_cast<size_t>(max_sequences) * MostEdits(config.context_length, config.vocab);
  }
  absl::Status MakeSteps();
  absl::Status PlanSteps();
  // Memory for pages and steps; where the pages begin.
  absl::StatusOr<uint8_t*> TakePages(uint64_t bytes);
};

Model::Model(std::unique_ptr<State> state) : state_(std::move(state)) {}
Model::~Model() = default;

absl::StatusOr<std::unique_ptr<Model>> Model::Load(const std::string& path,
                                                   const ModelOptions& options) {
  WEFT_ASSIGN_OR_RETURN(ModelSource source,
                        ModelSource::Open(path, options.table == ModelOptions::Table::kGpu));
  absl::StatusOr<std::unique_ptr<Model>> model = Load(std::move(source), options);
  if (!model.ok()) return Annotate(model.status(), path);
  return model;
}

absl::StatusOr<std::unique_ptr<Model>> Model::Load(std::shared_ptr<const GgufFile> file,
                                                   const ModelOptions& options) {
  WEFT_ASSIGN_OR_RETURN(ModelSource source,
                        ModelSource::FromGguf(std::move(file), /*mapped=*/false));
  return Load(std::move(source), options);
}

absl::StatusOr<std::unique_ptr<Model>> Model::Load(ModelSource source,
                                                   const ModelOptions& options) {
  WEFT_RETURN_IF_ERROR(CheckOptions(options));
  auto state = std::make_unique<State>();
  const bool ref = options.table == ModelOptions::Table::kRef;
  const bool gpu = options.table == ModelOptions::Table::kGpu;
  const bool cpu = !ref && !gpu;
  WEFT_ASSIGN_OR_RETURN(const Isa isa, ResolveIsa(options.isa));
  state->config = std::move(source.config);
  if (options.extend_context) {
    if (state->config.learned_positions) {
      return InvalidArgument("extend_context: the model has learned positions, {} of them",
                             state->config.context_length);
    }
    state->config.ExtendContext(options.context_length);
  }
  state->config.LimitContext(options.context_length);
  if (options.memory && cpu) {
    const MemoryNeed need =
        EstimateMemory(state->config, *source.tensors, *options.memory, options.kv_type);
    WEFT_RETURN_IF_ERROR(CheckMemory(need, ReadAvailableMemory()));
  }
  const int threads = gpu ? 1 : options.threads == 0 ? AvailableCpus() : options.threads;
  state->team = std::make_unique<ThreadTeam>(ThreadTeam::Options{.threads = threads});
  state->tensors = std::move(source.tensors);
  state->table = gpu ? &options.device->table() : ref ? &RefOps() : &CpuOps();
  state->isa = gpu ? options.device->device().info().name : ref ? "ref" : std::string(Name(isa));
  state->context.team = state->team.get();
  state->context.kernels = cpu ? &cpu::GetKernels(isa) : nullptr;
  state->context.scratch.resize(static_cast<size_t>(threads));
  const ModelConfig whole = state->config;
  const ShardPlan plan = options.rank == nullptr ? WholeModel(whole) : options.rank->plan;
  if (options.rank != nullptr) {
    state->config = LocalConfig(whole, plan);
    state->link = std::make_unique<RankLink>(*options.rank);
  }
  state->shape = {options.kv_type, 0, state->config.kv_heads, state->config.head_dim,
                  state->config.value_dim()};
  if (gpu && state->config.mla.kv_lora > 0) {  // its pages hold latents
    state->shape.kv_heads = 1;
    state->shape.head_dim = state->config.mla.kv_lora + state->config.rope_dim;
    state->shape.v_dim = 0;
  }
  std::optional<RepackCache> cache;
  if (cpu && !options.repack_cache.folder.empty() && !source.path.empty()) {
    cache.emplace(options.repack_cache, source.path);
  }
  RepackCache* repacked = cache ? &*cache : nullptr;
  const WeightSource weights{*state->tensors, options.progress, repacked};
  if (gpu) {
    state->device = options.device;
    state->graphs = options.graphs;
    state->weights_bf16 = options.weights_bf16;
    state->max_rows = options.max_step_rows;
    state->max_sequences = options.max_step_sequences;
    state->device_reserve_bytes = options.device_reserve_bytes;
    WEFT_RETURN_IF_ERROR(state->LoadOnDevice(weights));
  } else {
    WEFT_ASSIGN_OR_RETURN(state->weights,
                          LoadWeights(weights, whole, plan, *state->table, state->context));
  }
  if (repacked != nullptr) state->Keep(*repacked);
  state->transformer = std::make_unique<Transformer>(state->config, state->weights, *state->table,
                                                     state->context, state->link.get());
  return std::unique_ptr<Model>(new Model(std::move(state)));
}

const ModelConfig& Model::config() const { return state_->config; }

uint64_t Model::KvBytesPerBlock(int32_t block_tokens) const {
  const State& s = *state_;
  KvShape shape = s.shape;
  shape.block_tokens = std::max(block_tokens, 0);
  return static_cast<uint64_t>(s.config.layers) *
         static_cast<uint64_t>(shape.k_page().bytes() + shape.v_page().bytes());
}

absl::Status Model::AllocateKv(int32_t blocks, int32_t block_tokens) {
  if (block_tokens < 16 || block_tokens % 16 != 0 || block_tokens > 4096) {
    return InvalidArgument("block_tokens: expected a multiple of 16 up to 4096, found {}",
                           block_tokens);
  }
  if (blocks < 1 || blocks > std::numeric_limits<int32_t>::max() / block_tokens) {
    return InvalidArgument("blocks: expected a value in [1, {}], found {}",
                           std::numeric_limits<int32_t>::max() / block_tokens, blocks);
  }
  const uint64_t per_block = KvBytesPerBlock(block_tokens);
  const uint64_t memory =
      static_cast<uint64_t>(sysconf(_SC_PHYS_PAGES)) * static_cast<uint64_t>(sysconf(_SC_PAGESIZE));
  if (state_->device == nullptr && per_block > memory / static_cast<uint64_t>(blocks)) {
    return ResourceExhausted("{} KV pages of {} bytes each do not fit {} bytes of memory", blocks,
                             per_block, memory);
  }
  State& s = *state_;
  s.kv_blocks = 0;
  s.steps.reset();
  s.cache.clear();
  s.shape.block_tokens = block_tokens;
  // On a device one more, where rows work that only fill a step up.
  const int32_t all = s.device == nullptr ? blocks : blocks + 1;
  const uint64_t bytes = per_block * static_cast<uint64_t>(all);
  WEFT_ASSIGN_OR_RETURN(uint8_t* const pages, s.TakePages(bytes));
  s.kv_blocks = blocks;
  const uint64_t layer = bytes / static_cast<uint64_t>(s.config.layers);
  const uint64_t k_bytes =
      static_cast<uint64_t>(s.shape.k_page().bytes()) * static_cast<uint64_t>(all);
  for (int32_t i = 0; i < s.config.layers; ++i) {
    uint8_t* k = pages + layer * static_cast<uint64_t>(i);
    s.cache.push_back({k, k + k_bytes});
  }
  // On a device steps have their memory beside the pages.
  s.kv_bytes.store(s.device == nullptr ? bytes : s.device->step_memory().bytes(),
                   std::memory_order_relaxed);
  return s.device == nullptr ? absl::OkStatus() : s.MakeSteps();
}

absl::Status Model::State::MakeSteps() {
  steps = std::make_unique<ModelSteps>(
      ModelSteps::Parts{.transformer = transformer.get(),
                        .device = device.get(),
                        .cache = cache,
                        .shape = &shape,
                        .progress = &progress,
                        .check = [this](const StepBatch& batch) { return Check(batch); },
                        .spare_page = kv_blocks,
                        .context_tokens = config.context_length,
                        .vocab = config.vocab,
                        .most_edits = MostEdits(config.context_length, config.vocab),
                        .edits_of_step = edits_of_step()});
  if (!graphs) return absl::OkStatus();
  // The spare page is read before anything is written to it.
  Device& memory = device->device();
  WEFT_ASSIGN_OR_RETURN(const Stream stream, MakeStream(memory));
  for (const KvLayer& layer : cache) {
    for (const auto& [pages, page] :
         {std::pair{layer.k, shape.k_page()}, std::pair{layer.v, shape.v_page()}}) {
      const auto bytes = static_cast<uint64_t>(page.bytes());
      auto* spare = static_cast<uint8_t*>(pages) + bytes * static_cast<uint64_t>(kv_blocks);
      WEFT_RETURN_IF_ERROR(memory.FillAsync(spare, 0, bytes, stream.get()));
    }
  }
  WEFT_RETURN_IF_ERROR(memory.Synchronize(stream.get()));
  return steps->Record();
}

absl::StatusOr<uint8_t*> Model::State::TakePages(uint64_t bytes) {
  if (device == nullptr) {
    WEFT_RETURN_IF_ERROR(kv_pages.Allocate(bytes));
    return kv_pages.data();
  }
  WEFT_RETURN_IF_ERROR(PlanSteps());
  const DeviceArena::Slice pages = device->step_memory().Plan("KV pages", bytes);
  WEFT_RETURN_IF_ERROR(device->TakeSteps(device_reserve_bytes));
  return device->step_memory().At(pages);
}

absl::Status Model::State::PlanSteps() {
  WEFT_RETURN_IF_ERROR(device->PlanSteps({.rows = max_rows,
                                          .sequences = max_sequences,
                                          .context_tokens = config.context_length,
                                          .block_tokens = shape.block_tokens,
                                          .logit_rows = std::min(kLogitRows, max_rows),
                                          .vocab = config.vocab,
                                          .angles = transformer->angles(),
                                          .edits = edits_of_step()}));
  transformer->Plan(max_rows, std::min(kLogitRows, max_rows));
  return absl::OkStatus();
}

absl::StatusOr<int32_t> Model::FittingBlocks(double part, int32_t block_tokens) {
  State& s = *state_;
  if (s.device == nullptr) return ModelRunner::FittingBlocks(part, block_tokens);
  s.shape.block_tokens = block_tokens;
  WEFT_RETURN_IF_ERROR(s.PlanSteps());
  const uint64_t steps = s.device->step_memory().bytes() + DeviceArena::kAlignment;
  Device& device = s.device->device();
  WEFT_ASSIGN_OR_RETURN(const uint64_t free, device.FreeBytes());
  const uint64_t total = device.info().memory_bytes;
  const uint64_t used = total - std::min(total, free);
  const auto allowed = static_cast<uint64_t>(part * static_cast<double>(total));
  uint64_t room =
      std::min(allowed - std::min(allowed, used), free - std::min(free, s.device_reserve_bytes));
  room -= std::min(room, steps);
  const uint64_t page = KvBytesPerBlock(block_tokens);
  const uint64_t pages = room / page;
  if (pages < 2) {  // one of them is the spare
    return ResourceExhausted(
        "{}: of {} bytes {} are used, {} are to stay free and steps need {}: kv_memory_fraction {} "
        "leaves no page of {} bytes",
        device.info().name, total, used, s.device_reserve_bytes, steps, part, page);
  }
  const auto most = static_cast<uint64_t>(std::numeric_limits<int32_t>::max() / block_tokens);
  return static_cast<int32_t>(std::min(pages - 1, most));
}

absl::Status Model::State::LoadOnDevice(const WeightSource& source) {
  context.device = device.get();
  WEFT_RETURN_IF_ERROR(device->SetShape({.kv = shape,
                                         .heads = config.heads,
                                         .hidden = config.hidden,
                                         .experts = config.moe.experts,
                                         .expert_groups = config.moe.groups,
                                         .latent = config.mla.kv_lora,
                                         .weights_bf16 = weights_bf16}));
  device->PlanWeights();
  WEFT_RETURN_IF_ERROR(
      LoadWeights({source.tensors, nullptr, nullptr}, config, *table, context).status());
  WEFT_RETURN_IF_ERROR(device->TakeWeights(device_reserve_bytes));
  WEFT_ASSIGN_OR_RETURN(weights, LoadWeights(source, config, *table, context));
  return device->FinishWeights();
}

absl::Status Model::State::CheckSequence(const StepBatch& batch, size_t index) const {
  const StepBatch::Sequence& sequence = batch.sequences[index];
  const int32_t block_tokens = shape.block_tokens;
  const int32_t first_position = sequence.context_tokens - sequence.rows;
  if (first_position < 0 || sequence.context_tokens > config.context_length) {
    return InvalidArgument("sequences[{}].context_tokens: expected a value in [{}, {}], found {}",
                           index, sequence.rows, config.context_length, sequence.context_tokens);
  }
  const int32_t needed = (sequence.context_tokens + block_tokens - 1) / block_tokens;
  if (sequence.block_table == nullptr || sequence.blocks < needed) {
    return InvalidArgument("sequences[{}].blocks: expected at least {}, found {}", index, needed,
                           sequence.blocks);
  }
  for (int32_t i = 0; i < needed; ++i) {
    if (sequence.block_table[i] < 0 || sequence.block_table[i] >= kv_blocks) {
      return InvalidArgument("sequences[{}].block_table[{}]: page {} of {}", index, i,
                             sequence.block_table[i], kv_blocks);
    }
  }
  for (int32_t i = 0; i < sequence.rows; ++i) {
    const auto row = static_cast<size_t>(sequence.first_row + i);
    const int32_t position = first_position + i;
    if (batch.tokens[row] < 0 || batch.tokens[row] >= config.vocab) {
      return InvalidArgument("tokens[{}]: {} is outside the vocabulary of {}", row,
                             batch.tokens[row], config.vocab);
    }
    if (batch.positions[row] != position) {
      return InvalidArgument("positions[{}]: expected {}, found {}", row, position,
                             batch.positions[row]);
    }
    const int32_t slot =
        sequence.block_table[position / block_tokens] * block_tokens + position % block_tokens;
    if (batch.cache_slots[row] != slot) {
      return InvalidArgument("cache_slots[{}]: expected {}, found {}", row, slot,
                             batch.cache_slots[row]);
    }
  }
  return absl::OkStatus();
}

absl::Status Model::State::Check(const StepBatch& batch) const {
  if (kv_blocks == 0) return FailedPrecondition("Forward before AllocateKv");
  const size_t rows = batch.tokens.size();
  if (rows == 0 || rows > static_cast<size_t>(max_rows)) {
    return InvalidArgument("tokens: expected 1 to {} rows, found {}", max_rows, rows);
  }
  if (batch.sequences.size() > static_cast<size_t>(max_sequences)) {
    return InvalidArgument("sequences: expected at most {}, found {}", max_sequences,
                           batch.sequences.size());
  }
  if (batch.positions.size() != rows || batch.cache_slots.size() != rows ||
      batch.wants_logits.size() != rows) {
    return InvalidArgument(
        "positions, cache_slots and wants_logits: expected {} rows each, found "
        "{}, {} and {}",
        rows, batch.positions.size(), batch.cache_slots.size(), batch.wants_logits.size());
  }
  int64_t next_row = 0;
  for (size_t i = 0; i < batch.sequences.size(); ++i) {
    const StepBatch::Sequence& sequence = batch.sequences[i];
    if (sequence.first_row != next_row || sequence.rows < 1 ||
        next_row + sequence.rows > static_cast<int64_t>(rows)) {
      return InvalidArgument("sequences[{}]: rows [{}, +{}) do not follow row {} of {}", i,
                             sequence.first_row, sequence.rows, next_row, rows);
    }
    next_row += sequence.rows;
    WEFT_RETURN_IF_ERROR(CheckSequence(batch, i));
  }
  if (next_row != static_cast<int64_t>(rows)) {
    return InvalidArgument("sequences: they cover {} of {} rows", next_row, rows);
  }
  return absl::OkStatus();
}

absl::Status Model::State::Check(const StepBatch& batch, std::span<float> logits) const {
  WEFT_RETURN_IF_ERROR(Check(batch));
  const auto wanted =
      static_cast<size_t>(std::count_if(batch.wants_logits.begin(), batch.wants_logits.end(),
                                        [](uint8_t wants) { return wants != 0; }));
  if (logits.size() < wanted * static_cast<size_t>(config.vocab)) {
    return InvalidArgument("logits: expected room for {} rows of {}, found {} floats", wanted,
                           config.vocab, logits.size());
  }
  return absl::OkStatus();
}

absl::Status Model::Forward(const StepBatch& batch, std::span<float> logits) {
  WEFT_RETURN_IF_ERROR(Check(batch, logits));
  return Step(batch, logits);
}

absl::Status Model::Check(const StepBatch& batch, std::span<float> logits) const {
  return state_->Check(batch, logits);
}

absl::Status Model::Check(const StepBatch& batch) const { return state_->Check(batch); }

absl::Status Model::Step(const StepBatch& batch, std::span<float> logits) {
  return state_->transformer->Forward(batch, state_->cache, state_->shape, logits,
                                      state_->progress);
}

DeviceSteps* Model::device_steps() { return state_->steps.get(); }

absl::Status Model::health() const {
  return state_->steps == nullptr ? absl::OkStatus() : state_->steps->health();
}

uint64_t Model::layer_progress() const { return state_->progress.load(std::memory_order_relaxed); }

const std::string& Model::State::WeightsSha256() {
  std::call_once(hashed, [this] { sha256 = tensors->Sha256(); });
  return sha256;
}

void Model::State::Keep(const RepackCache& cache) {
  using Kind = RepackStatus::Kind;
  repack = {Kind::kMapped, "", cache.found()};
  if (cache.complete()) {
    std::call_once(hashed, [&] { sha256 = cache.weights_sha256(); });
  } else {
    const absl::Status stored = cache.Store(WeightsSha256());
    repack.kind = stored.ok() ? Kind::kMade : Kind::kFailed;
    if (!stored.ok()) repack.problem = stored;
  }
  if (repack.kind != Kind::kFailed) repack.path = cache.path();
}

std::string Model::weights_sha256() const { return state_->WeightsSha256(); }
const Model::RepackStatus& Model::repack_status() const { return state_->repack; }

std::string Model::quantization() const { return std::string(Name(state_->weights.main_type)); }

std::string Model::numerics_class() const {
  // Threads, batch and instruction set leave no trace in the bits, so they are not part of it.
  const std::string_view mode = state_->device == nullptr ? "" : state_->device->numerics_name();
  return fmt::format("{}{}-r{}/w-{}/a-{}/kv-{}/{}", state_->table->name, mode, kKernelRevision,
                     quantization(), ActivationType(*state_->table), Name(state_->shape.type),
                     weights_sha256().substr(0, 16));
}

uint64_t Model::memory_bytes() const {
  const State& s = *state_;
  // The ref table computes from the source's own bytes.
  const uint64_t weights = s.device != nullptr          ? s.device->weight_bytes()
                           : s.weights.packed_bytes > 0 ? s.weights.packed_bytes
                                                        : s.tensors->bytes();
  return weights + s.kv_bytes.load(std::memory_order_relaxed) + s.transformer->scratch_bytes();
}

uint64_t Model::parameter_count() const {
  uint64_t count = 0;
  for (const Tensor& tensor : state_->tensors->tensors()) {
    uint64_t elements = 1;
    for (const int64_t dim : tensor.dims) elements *= static_cast<uint64_t>(dim);
    count += elements;
  }
  return count;
}

double Model::load_bytes_per_second() const {
  if (state_->device == nullptr) return 0;
  const LoadRate rate = state_->device->load_rate();
  return rate.seconds > 0 ? static_cast<double>(rate.bytes) / rate.seconds : 0;
}

int32_t Model::threads() const { return state_->team->threads(); }
uint64_t Model::fork_joins() const { return state_->team->fork_joins(); }
std::string Model::isa() const { return state_->isa; }

}  // namespace weft
