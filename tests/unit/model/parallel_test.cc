// Models computed by several ranks against one rank, and against transformers.
#include <algorithm>
#include <condition_variable>
#include <mutex>
#include <new>
#include <string>

#include "libs/base/status.h"
#include "libs/gguf/gguf.h"
#include "libs/model/model_source.h"
#include "libs/model/parallel_model.h"
#include "tests/unit/model/family_goldens.h"
#include "tests/unit/model/tiny_model.h"

namespace weft {
namespace {

using std::chrono::milliseconds;
using test::AllTokens;
using test::FamilyFolder;
using test::Golden;
using test::LogitsInChunks;
using test::Ref;
using test::SameBits;
using test::TinyModel;

const char* FamilyOf() {
  return GENERATE(from_range(std::begin(test::kFamilies), std::end(test::kFamilies)));
}

ModelSource OpenFamily(const std::string& name) {
  auto source = ModelSource::Open(FamilyFolder(name));
  INFO(ToString(source.status()));
  REQUIRE(source.ok());
  return *std::move(source);
}

std::unique_ptr<ParallelModel> LoadParallel(const ModelSource& source, const ModelOptions& options,
                                            const ParallelOptions& parallel) {
  auto model = ParallelModel::Load(source, options, parallel);
  INFO(ToString(model.status()));
  REQUIRE(model.ok());
  return *std::move(model);
}

std::vector<float> Logits(ModelRunner& model, const std::vector<int32_t>& tokens, size_t chunk) {
  return LogitsInChunks(model, tokens, chunk, 32);
}

bool Divides(const ModelConfig& config, int32_t tensor) {
  const std::vector<int32_t> sizes = TensorParallelSizes(config);
  return std::find(sizes.begin(), sizes.end(), tensor) != sizes.end();
}

TEST_CASE("Every family in parts has the logits and greedy text of transformers",
          "[model][parallel]") {
  const std::string name = FamilyOf();
  const ModelSource source = OpenFamily(name);
  // Four ranks are more than any family has heads of keys; phi3_long has three heads.
  const int32_t tensor = GENERATE(2, 3, 4);
  if (!Divides(source.config, tensor)) return;
  CAPTURE(name, tensor);
  const auto model = LoadParallel(source, Ref(), {.group = {tensor, 1}});
  test::CheckGolden(*model, Golden(name));
}

TEST_CASE("Stages of every family give the bits of one rank, parts and stages those of parts",
          "[model][parallel]") {
  const std::string name = FamilyOf();
  const ModelSource source = OpenFamily(name);
  if (source.config.layers < 2) return;
  const bool ref = GENERATE(true, false);
  CAPTURE(name, ref);
  const ModelOptions options = ref ? Ref() : ModelOptions{.threads = 1};
  const std::vector<int32_t> tokens = AllTokens(Golden(name)["cases"].back());
  const auto one = test::LoadModel(source, options);
  const auto stages = LoadParallel(source, options, {.group = {1, 2}});
  CHECK(SameBits(Logits(*stages, tokens, 13), Logits(*one, tokens, tokens.size())));
  if (!Divides(source.config, 2)) return;
  const auto parts = LoadParallel(source, options, {.group = {2, 1}});
  const auto both = LoadParallel(source, options, {.group = {2, 2}});
  CHECK(SameBits(Logits(*both, tokens, 13), Logits(*parts, tokens, tokens.size())));
}

TEST_CASE("The fast table in parts stays near itself in one, and has one result",
          "[model][parallel]") {
  const std::string name = FamilyOf();
  const ModelSource source = OpenFamily(name);
  const int32_t tensor = GENERATE(2, 4);
  if (!Divides(source.config, tensor)) return;
  CAPTURE(name, tensor);
  const std::vector<int32_t> tokens = AllTokens(Golden(name)["cases"].back());
  const auto one = test::LoadModel(source, ModelOptions{.threads = 1});
  const auto model = LoadParallel(source, {.threads = 2 * tensor}, {.group = {tensor, 1}});
  CHECK(model->threads() == 2 * tensor);
  const std::vector<float> found = Logits(*model, tokens, tokens.size());
  const auto vocab = static_cast<size_t>(source.config.vocab);
  // Sums in another order move activations across the borders of their codes.
  CHECK(test::MeanKl(Logits(*one, tokens, tokens.size()), found, vocab) <= test::kFastMeanKl);
  CHECK(SameBits(Logits(*model, tokens, 1), found));
  CHECK(SameBits(Logits(*model, tokens, 13), found));
}

TinyModel Tiny(DType type = DType::kQ4_1) {
  TinyModel tiny;
  tiny.type = type;
  return tiny;
}

ModelSource TinySource(const TinyModel& tiny) {
  auto file = GgufFile::FromBytes(tiny.Bytes());
  REQUIRE(file.ok());
  auto source = ModelSource::FromGguf(*file, /*mapped=*/false);
  REQUIRE(source.ok());
  return *std::move(source);
}

TEST_CASE("Quantised matrices are cut at their blocks, or refused with what would do",
          "[model][parallel]") {
  const DType type = GENERATE(DType::kQ4_1, DType::kQ8_0, DType::kBF16);
  const ModelSource source = TinySource(Tiny(type));
  const std::vector<int32_t> tokens = {5, 17, 200, 33, 7, 99, 150, 2, 81};
  const auto one = test::LoadModel(source, Ref());
  const auto four = LoadParallel(source, Ref(), {.group = {4, 2}});
  const std::vector<float> wanted = Logits(*one, tokens, tokens.size());
  const std::vector<float> found = Logits(*four, tokens, 4);
  REQUIRE(found.size() == wanted.size());
  for (size_t i = 0; i < found.size(); i += 300) {
    CHECK(test::RowError(&wanted[i], &found[i], 300) <= test::kRefError);
  }
  CHECK(four->config().heads == 4);
  CHECK(four->numerics_class() == one->numerics_class() + "/tp4");
  CHECK(four->weights_sha256() == one->weights_sha256());
  CHECK(four->parameter_count() == one->parameter_count());
  // Two heads of keys, four ranks: each is cached twice.
  CHECK(four->KvBytesPerBlock(64) == 2 * one->KvBytesPerBlock(64));

  const auto refused =
      ParallelModel::Load(TinySource(Tiny(DType::kQ4_K)), {.threads = 1}, {.group = {2, 1}});
  CHECK(
      Message(refused.status()) ==
      "tensor blk.0.attn_output.weight: 256 columns in 2 parts of 128 are no whole blocks of Q4_K "
      "(256 elements); tensor_parallel may be 1");
}

TEST_CASE("Long steps go through the stages in parts, with the bits of one rank",
          "[model][parallel]") {
  TinyModel tiny;
  tiny.layers = 3;
  const ModelSource source = TinySource(tiny);
  std::vector<int32_t> tokens(450);
  for (size_t i = 0; i < tokens.size(); ++i) tokens[i] = static_cast<int32_t>(i * 37 % 300);
  const auto one = test::LoadModel(source, {.threads = 1});
  const auto stages = LoadParallel(source, {.threads = 1}, {.group = {1, 3}});
  CHECK(SameBits(Logits(*stages, tokens, 449), Logits(*one, tokens, 449)));
  CHECK(stages->numerics_class() == one->numerics_class());
  CHECK(stages->layer_progress() > 0);
}

TEST_CASE("A rank's errors are the model's", "[model][parallel]") {
  const ModelSource source = TinySource(Tiny());
  const auto error = [&](const ModelOptions& options, const ParallelOptions& parallel) {
    return std::string(Message(ParallelModel::Load(source, options, parallel).status()));
  };
  CHECK_THAT(error({}, {.group = {3, 1}}), ContainsSubstring("4 heads cannot be divided among 3"));
  CHECK_THAT(error({}, {.group = {1, 3}}), ContainsSubstring("3 stages for 2 layers"));
  CHECK_THAT(error({.threads = -1}, {.group = {2, 1}}), ContainsSubstring("threads:"));
  CHECK_THAT(error({}, {.group = {2, 1}, .timeout = milliseconds(0)}),
             ContainsSubstring("timeout:"));
  CHECK_THAT(error({.memory = MemoryPlan{.kv_bytes = uint64_t{1} << 60, .sequences = 1 << 30}},
                   {.group = {2, 1}}),
             ContainsSubstring("not enough memory"));
  // A tensor that no rank knows, in a layer of the second stage.
  TinyModel tiny;
  tiny.extra = {"blk.1.surprise.weight"};
  const ModelSource extra = TinySource(tiny);
  const auto refused = ParallelModel::Load(extra, {.threads = 1}, {.group = {1, 2}});
  CHECK_THAT(std::string(Message(refused.status())), ContainsSubstring("blk.1.surprise.weight"));

  // A bad batch changes nothing.
  const auto model = LoadParallel(source, {.threads = 1}, {.group = {2, 1}});
  StepBatch batch;
  std::vector<float> logits(300);
  CHECK(model->Forward(batch, logits).code() == absl::StatusCode::kFailedPrecondition);
  REQUIRE(model->AllocateKv(4, 64).ok());
  CHECK(model->Forward(batch, logits).code() == absl::StatusCode::kInvalidArgument);
  CHECK(model->health().ok());
}

// What a rank does in its nth sum instead of it.
enum class Fault { kError, kNoMemory, kHang };

class Breaker {
 public:
  Breaker(Fault fault, int rank, int call) : fault_(fault), rank_(rank), call_(call) {}

  absl::Status Pass(int rank, int call) {
    if (rank != rank_ || call != call_) return absl::OkStatus();
    if (fault_ == Fault::kError) return Internal("the link broke");
    if (fault_ == Fault::kNoMemory) throw std::bad_alloc();
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return released_; });
    return Internal("late");
  }
  void Release() {
    std::lock_guard lock(mutex_);
    released_ = true;
    changed_.notify_all();
  }
  void Made() {
    std::lock_guard lock(mutex_);
    ++alive_;
  }
  void Gone() {
    std::lock_guard lock(mutex_);
    --alive_;
    changed_.notify_all();
  }
  bool WaitAllGone() {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, std::chrono::seconds(60), [&] { return alive_ == 0; });
  }

 private:
  const Fault fault_;
  const int rank_, call_;
  std::mutex mutex_;
  std::condition_variable changed_;
  bool released_ = false;
  int alive_ = 0;
};

class Breaking final : public comm::Communicator {
 public:
  Breaking(std::unique_ptr<comm::Communicator> real, Breaker& breaker)
      : real_(std::move(real)), breaker_(breaker) {
    breaker_.Made();
  }
  ~Breaking() override { breaker_.Gone(); }
  int rank() const override { return real_->rank(); }
  int size() const override { return real_->size(); }
  absl::Status AllReduceSum(std::span<float> data) override {
    const absl::Status status = breaker_.Pass(rank(), ++calls_);
    return status.ok() ? real_->AllReduceSum(data) : status;
  }
  absl::Status AllGather(std::span<const float> mine, std::span<float> all) override {
    return real_->AllGather(mine, all);
  }
  absl::Status Broadcast(std::span<std::byte> data, int root) override {
    return real_->Broadcast(data, root);
  }
  absl::Status Barrier() override { return real_->Barrier(); }
  absl::Status Send(std::span<const float> data, int to) override { return real_->Send(data, to); }
  absl::Status Recv(std::span<float> data, int from) override { return real_->Recv(data, from); }
  void Abort(const absl::Status& reason) override { real_->Abort(reason); }
  absl::Status status() const override { return real_->status(); }

 private:
  const std::unique_ptr<comm::Communicator> real_;
  Breaker& breaker_;
  int calls_ = 0;
};

TEST_CASE("A rank that fails or hangs ends the model within the timeout, and is named",
          "[model][parallel]") {
  const Fault fault = GENERATE(Fault::kError, Fault::kNoMemory, Fault::kHang);
  const int rank = fault == Fault::kNoMemory ? 1 : 2;
  CAPTURE(static_cast<int>(fault));
  // The second step: a step has two sums in each of two layers.
  Breaker breaker(fault, rank, 7);
  const auto timeout = milliseconds(fault == Fault::kHang ? 2'000 : 60'000);
  ParallelOptions parallel{.group = {4, 1}, .timeout = timeout};
  parallel.make_group = [&](const comm::InProcessOptions& options) {
    auto ranks = comm::MakeInProcessGroup(options);
    if (ranks.ok()) {
      for (auto& each : *ranks) each = std::make_unique<Breaking>(std::move(each), breaker);
    }
    return ranks;
  };
  {
    const auto model = LoadParallel(TinySource(Tiny()), {.threads = 1}, parallel);
    REQUIRE(model->AllocateKv(2, 64).ok());
    const std::vector<int32_t> table = {1, 0};
    StepBatch batch{.tokens = {7},
                    .positions = {0},
                    .cache_slots = {64},
                    .wants_logits = {1},
                    .sequences = {{0, 1, table.data(), 2, 1}}};
    std::vector<float> logits(300);
    REQUIRE(model->Forward(batch, logits).ok());
    batch.positions = {1};
    batch.cache_slots = {65};
    batch.sequences[0].context_tokens = 2;
    const auto begin = std::chrono::steady_clock::now();
    const absl::Status status = model->Forward(batch, logits);
    CHECK(std::chrono::steady_clock::now() - begin < std::chrono::seconds(30));
    INFO(ToString(status));
    CHECK(status.code() ==
          (fault == Fault::kHang ? absl::StatusCode::kUnavailable : absl::StatusCode::kAborted));
    const std::string who = "rank " + std::to_string(rank);
    CHECK_THAT(std::string(Message(status)), ContainsSubstring(who));
    CHECK(model->health() == status);
    CHECK(model->Forward(batch, logits) == status);
    CHECK(model->AllocateKv(2, 64) == status);
  }
  // A rank that hangs was left behind; what it holds goes when it ends.
  breaker.Release();
  CHECK(breaker.WaitAllGone());
}

}  // namespace
}  // namespace weft
