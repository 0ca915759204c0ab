// Ranks as processes are, but in threads: rank 0 leads with steps as bytes, the others follow.
#include "libs/model/process_model.h"

#include <atomic>
#include <chrono>
#include <thread>

#include "libs/base/status.h"
#include "libs/comm/in_process.h"
#include "libs/gguf/gguf.h"
#include "libs/model/parallel_model.h"
#include "libs/model/step_wire.h"
#include "tests/support/catch.h"
#include "tests/unit/model/sequence_runner.h"
#include "tests/unit/model/tiny_model.h"

namespace weft {
namespace {

using namespace std::chrono_literals;

ModelSource SmallSource() {
  test::TinyModel tiny;
  tiny.heads = 6, tiny.kv_heads = 3, tiny.head_dim = 32, tiny.hidden = 192, tiny.ffn = 288;
  return ModelSource::FromGguf(GgufFile::FromBytes(tiny.Bytes()).value(), false).value();
}

// A leader, and followers on threads of their own.
class Processes {
 public:
  Processes(const ModelSource& source, Parallelism group) {
    const comm::InProcessOptions all{.size = group.ranks(), .timeout = 20s};
    auto ranks = comm::MakeInProcessGroup(all).value();
    std::vector<std::unique_ptr<comm::Communicator>> stages;
    for (int i = 0; i < group.pipeline; ++i) {
      auto stage = comm::MakeInProcessGroup({.size = group.tensor, .timeout = 20s}).value();
      for (auto& one : stage) stages.push_back(std::move(one));
    }
    results_.resize(ranks.size());
    followers_.resize(ranks.size());
    const auto options = [&](size_t rank) {
      ProcessRankOptions own;
      own.group = group;
      own.rank = static_cast<int32_t>(rank);
      own.heartbeat = 1ms;
      own.join = [&ranks, &stages, rank, group]() -> absl::StatusOr<RankGroups> {
        return RankGroups{std::move(ranks[rank]),
                          group.pipeline == 1 ? nullptr : std::move(stages[rank])};
      };
      if (rank == 0) {
        own.gone = [this](const absl::Status& reason) {
          gone_reason_ = reason;
          gone_ = true;
        };
      }
      return own;
    };
    for (size_t rank = 1; rank < ranks.size(); ++rank) {
      followers_[rank] =
          FollowingRank::Load(source, ModelOptions{.threads = 1}, options(rank)).value();
      threads_.emplace_back([this, rank] { results_[rank] = followers_[rank]->Run(); });
    }
    leader_ = LeadingModel::Load(source, ModelOptions{.threads = 1}, options(0)).value();
  }
  ~Processes() { End(); }

  // How the followers ended.
  std::vector<absl::Status> End() {
    leader_.reset();
    for (std::thread& thread : threads_) {
      if (thread.joinable()) thread.join();
    }
    return {results_.begin() + 1, results_.end()};
  }
  LeadingModel& leader() { return *leader_; }
  FollowingRank& follower(size_t rank) { return *followers_[rank]; }
  bool gone() const { return gone_; }
  const absl::Status& gone_reason() const { return gone_reason_; }

 private:
  std::unique_ptr<LeadingModel> leader_;
  std::vector<std::unique_ptr<FollowingRank>> followers_;
  std::vector<absl::Status> results_;
  std::vector<std::thread> threads_;
  std::atomic<bool> gone_{false};
  absl::Status gone_reason_;
};

std::vector<float> Logits(ModelRunner& model) {
  std::vector<int32_t> tokens(40);
  for (size_t i = 0; i < tokens.size(); ++i) tokens[i] = static_cast<int32_t>(i * 37 % 300);
  return test::LogitsInChunks(model, tokens, 13, 32);
}

TEST_CASE("A rank that leads and ranks that follow have the bits of ranks in one process",
          "[model][parallel]") {
  const ModelSource source = SmallSource();
  const Parallelism group = GENERATE(Parallelism{3, 1}, Parallelism{1, 2}, Parallelism{3, 2});
  CAPTURE(group.tensor, group.pipeline);
  Processes processes(source, group);
  auto one = ParallelModel::Load(source, ModelOptions{.threads = 1}, {.group = group}).value();
  CHECK(test::SameBits(Logits(processes.leader()), Logits(*one)));
  CHECK(processes.leader().numerics_class() == one->numerics_class());
  CHECK(processes.leader().parameter_count() == one->parameter_count());
  // A page of the largest rank, where the threads' is that of all together.
  const uint64_t own = processes.leader().KvBytesPerBlock(32);
  CHECK(own * static_cast<uint64_t>(group.ranks()) >= one->KvBytesPerBlock(32));
  CHECK(own < one->KvBytesPerBlock(32));
  for (const absl::Status& status : processes.End()) {
    INFO(ToString(status));
    CHECK(status.ok());
  }
}

TEST_CASE("A rank that gives up is noticed while nobody asks for a step", "[model][parallel]") {
  Processes processes(SmallSource(), {3, 1});
  processes.follower(2).Abort(Unavailable("it was stopped"));
  const auto deadline = std::chrono::steady_clock::now() + 20s;
  while (!processes.gone() && std::chrono::steady_clock::now() < deadline) {
    std::this_thread::sleep_for(1ms);
  }
  REQUIRE(processes.gone());
  CHECK_THAT(ToString(processes.gone_reason()),
             ContainsSubstring("rank 2 gave up: it was stopped"));
  CHECK(processes.leader().health() == processes.gone_reason());
  CHECK_FALSE(processes.leader().AllocateKv(4, 32).ok());
  for (const absl::Status& status : processes.End()) CHECK_FALSE(status.ok());
}

TEST_CASE("Pages that one rank has no room for end the group with its reason",
          "[model][parallel]") {
  Processes processes(SmallSource(), {1, 2});
  const absl::Status refused = processes.leader().AllocateKv(-1, 32);
  CHECK_FALSE(refused.ok());
  CHECK_FALSE(processes.leader().health().ok());
}

TEST_CASE("A step is the same after it was bytes, and cut or changed bytes are refused",
          "[model][parallel]") {
  const std::vector<int32_t> first{4, 9, 2}, second{7};
  StepBatch batch;
  batch.tokens = {5, 6, 7, 8};
  batch.positions = {130, 131, 132, 3};
  batch.cache_slots = {130, 131, 132, 451};
  batch.wants_logits = {0, 0, 1, 1};
  batch.sequences = {{0, 3, first.data(), 3, 133}, {3, 1, second.data(), 1, 4}};
  std::vector<std::byte> bytes;
  EncodeStep(batch, bytes);
  OwnedStep step;
  REQUIRE(DecodeStep(bytes, step).ok());
  CHECK(step.batch.tokens == batch.tokens);
  CHECK(step.batch.positions == batch.positions);
  CHECK(step.batch.cache_slots == batch.cache_slots);
  CHECK(step.batch.wants_logits == batch.wants_logits);
  REQUIRE(step.batch.sequences.size() == 2);
  CHECK(std::vector<int32_t>(step.batch.sequences[0].block_table,
                             step.batch.sequences[0].block_table + 3) == first);
  CHECK(step.batch.sequences[1].block_table[0] == 7);
  CHECK(step.batch.sequences[1].context_tokens == 4);
  for (size_t size = 0; size < bytes.size(); ++size) {
    CHECK(DecodeStep(std::span(bytes).first(size), step).code() ==
          absl::StatusCode::kInvalidArgument);
  }
  std::vector<std::byte> changed = bytes;
  changed[3] = std::byte{0x7f};  // rows
  CHECK_THAT(ToString(DecodeStep(changed, step)), ContainsSubstring("expected"));
  changed = bytes;
  changed[12 + 4 * 13 + 8] = std::byte{9};  // blocks of the first sequence
  CHECK_THAT(ToString(DecodeStep(changed, step)), ContainsSubstring("sequences[0].blocks: 9 of"));
}

}  // namespace
}  // namespace weft
