// Plans of shards against what any division must be: every part computed by the right ranks once.
#include "libs/model/shard.h"

#include <algorithm>
#include <random>
#include <string>

#include "libs/base/status.h"
#include "libs/model/micro_batch.h"
#include "tests/support/catch.h"

namespace weft {
namespace {

ModelConfig Config(int32_t layers, int32_t heads, int32_t kv_heads, int32_t ffn, int32_t vocab) {
  ModelConfig config;
  config.layers = layers;
  config.heads = heads;
  config.kv_heads = kv_heads;
  config.head_dim = 64;
  config.hidden = heads * 64;
  config.ffn = ffn;
  config.vocab = vocab;
  return config;
}

// How often each of `total` things is in the slices of a stage's ranks.
std::vector<int> Counts(const std::vector<ShardPlan>& plans, int32_t stage,
                        const Slice ShardPlan::*slice) {
  std::vector<int> counts(static_cast<size_t>((plans[0].*slice).total));
  for (const ShardPlan& plan : plans) {
    if (plan.stage() != stage) continue;
    const Slice& own = plan.*slice;
    CHECK(own.total == (plans[0].*slice).total);
    for (int64_t i = own.first; i < own.first + own.count; ++i) ++counts.at(static_cast<size_t>(i));
  }
  return counts;
}

bool AllAre(const std::vector<int>& counts, int value) {
  return std::all_of(counts.begin(), counts.end(), [&](int count) { return count == value; });
}

TEST_CASE("Every head, column and row is computed once in each stage, and every layer in one",
          "[model][shard]") {
  std::mt19937 random(11);
  int planned = 0;
  for (int round = 0; round < 400; ++round) {
    const auto draw = [&](int32_t most) { return static_cast<int32_t>(random() % most) + 1; };
    const int32_t kv_heads = draw(6);
    ModelConfig config = Config(draw(9), kv_heads * draw(4), kv_heads, 8 * draw(16), 50 + draw(60));
    config.sliding_window = 4;
    for (int32_t i = 0; i < config.layers; ++i) {
      config.sliding_layers.push_back(static_cast<uint8_t>(random() % 2));
      config.rope_layers.push_back(static_cast<uint8_t>(random() % 2));
    }
    config.rope_dim = 64;
    if (random() % 2 == 0) {
      config.moe = {.experts = 4,
                    .used = 2,
                    .ffn = 8 * draw(8),
                    .shared_ffn = 8 * draw(8),
                    .first_dense = static_cast<int32_t>(random() % (config.layers + 1))};
    }
    const Parallelism group{draw(8), draw(4)};
    std::vector<ShardPlan> plans;
    absl::Status status;
    for (int32_t r = 0; r < group.ranks() && status.ok(); ++r) {
      auto plan = PlanShard(config, group, r);
      status = plan.status();
      if (plan.ok()) plans.push_back(*plan);
    }
    // What divides is what a reader would say.
    const bool dense = config.moe.experts == 0 || config.moe.first_dense > 0;
    const bool expected =
        config.heads % group.tensor == 0 &&
        (kv_heads % group.tensor == 0 || group.tensor % kv_heads == 0) &&
        (!dense || config.ffn % group.tensor == 0) && config.moe.ffn % group.tensor == 0 &&
        config.moe.shared_ffn % group.tensor == 0 && group.pipeline <= config.layers;
    CAPTURE(config.heads, kv_heads, config.ffn, config.layers, group.tensor, group.pipeline,
            ToString(status));
    CHECK(status.ok() == expected);
    if (!status.ok()) continue;
    ++planned;
    std::vector<int> layers(static_cast<size_t>(config.layers));
    const int32_t copies = std::max(1, group.tensor / kv_heads);
    for (int32_t stage = 0; stage < group.pipeline; ++stage) {
      CHECK(AllAre(Counts(plans, stage, &ShardPlan::heads), 1));
      CHECK(AllAre(Counts(plans, stage, &ShardPlan::kv_heads), copies));
      if (dense) CHECK(AllAre(Counts(plans, stage, &ShardPlan::ffn), 1));
      CHECK(AllAre(Counts(plans, stage, &ShardPlan::expert_ffn), 1));
      CHECK(AllAre(Counts(plans, stage, &ShardPlan::shared_ffn), 1));
      CHECK(AllAre(Counts(plans, stage, &ShardPlan::vocab), 1));
    }
    for (const ShardPlan& plan : plans) {
      CHECK(plan.vocab.count > 0);
      // Attention as the ops see it: head h of a rank takes its key head h / (heads / kv_heads),
      // which must be the one that the whole model's head takes.
      const ModelConfig local = LocalConfig(config, plan);
      REQUIRE(local.heads % local.kv_heads == 0);
      for (int32_t h = 0; h < local.heads; ++h) {
        const int64_t whole = (plan.heads.first + h) / (config.heads / kv_heads);
        CHECK(plan.kv_heads.first + h / (local.heads / local.kv_heads) == whole);
      }
      for (int32_t i = 0; i < local.layers; ++i) {
        const auto whole = static_cast<int32_t>(plan.layers.first) + i;
        CHECK(local.slides(i) == config.slides(whole));
        CHECK(local.rotates(i) == config.rotates(whole));
        CHECK(local.has_experts(i) == config.has_experts(whole));
        if (plan.tensor_rank() == 0) ++layers[static_cast<size_t>(whole)];
      }
      CHECK(local.ffn == plan.ffn.count);
      CHECK(local.vocab == config.vocab);
    }
    CHECK(AllAre(layers, 1));
  }
  CHECK(planned > 40);
}

TEST_CASE("What cannot be divided names its tensors, its size and the numbers that would do",
          "[model][shard]") {
  const ModelConfig smol = Config(30, 9, 3, 1536, 49152);
  CHECK(TensorParallelSizes(smol) == std::vector<int32_t>{1, 3});
  CHECK(
      Message(PlanShard(smol, {2, 1}, 0).status()) ==
      "attn_q, attn_output: 9 heads cannot be divided among 2 ranks; tensor_parallel may be 1, 3");
  CHECK(Message(PlanShard(smol, {1, 31}, 0).status()) ==
        "pipeline_parallel: 31 stages for 30 layers");
  CHECK(Message(PlanShard(Config(1, 6, 3, 64, 64), {2, 1}, 0).status()) ==
        "attn_k, attn_v: 3 heads of keys can neither be divided among 2 ranks nor copied evenly to "
        "them; tensor_parallel may be 1");
  CHECK_THAT(std::string(Message(PlanShard(Config(1, 8, 8, 36, 64), {8, 1}, 0).status())),
             ContainsSubstring("ffn_gate, ffn_up, ffn_down: 36 columns"));
  CHECK_THAT(std::string(Message(PlanShard(Config(1, 8, 8, 64, 9), {8, 1}, 0).status())),
             ContainsSubstring("output: 9 rows are too few for 8 ranks"));
  CHECK(Message(PlanShard(smol, {0, 1}, 0).status()).starts_with("tensor_parallel:"));
  CHECK(Message(PlanShard(smol, {3, 22}, 0).status()).starts_with("pipeline_parallel:"));
  CHECK(Message(PlanShard(smol, {3, 1}, 3).status()).starts_with("rank:"));
}

TEST_CASE("A batch in parts has the same rows, and sequences that go on", "[model][shard]") {
  std::mt19937 random(3);
  for (int round = 0; round < 200; ++round) {
    StepBatch batch;
    const std::vector<int32_t> table(64);
    std::vector<std::pair<int, int>> rows;  // sequence, position
    for (int s = 0; s < 1 + static_cast<int>(random() % 5); ++s) {
      const auto count = static_cast<int32_t>(random() % 40) + 1;
      const auto start = static_cast<int32_t>(random() % 30);
      batch.sequences.push_back({batch.rows(), count, table.data(), 64, start + count});
      for (int32_t i = 0; i < count; ++i) {
        rows.push_back({s, start + i});
        batch.tokens.push_back(static_cast<int32_t>(random() % 1000));
        batch.positions.push_back(start + i);
        batch.cache_slots.push_back(static_cast<int32_t>(random() % 1000));
        batch.wants_logits.push_back(static_cast<uint8_t>(random() % 2));
      }
    }
    const auto parts = static_cast<int32_t>(random() % 5) + 1;
    const auto least = static_cast<int32_t>(random() % 30) + 1;
    const std::vector<StepBatch> cut = CutBatch(batch, parts, least);
    REQUIRE(!cut.empty());
    CHECK(cut.size() <= static_cast<size_t>(parts));
    StepBatch joined;
    size_t row = 0;
    for (const StepBatch& part : cut) {
      CHECK((part.rows() >= least || cut.size() == 1));
      const auto append = [](auto& to, const auto& from) {
        to.insert(to.end(), from.begin(), from.end());
      };
      append(joined.tokens, part.tokens);
      append(joined.positions, part.positions);
      append(joined.cache_slots, part.cache_slots);
      append(joined.wants_logits, part.wants_logits);
      int32_t next = 0;
      for (const StepBatch::Sequence& s : part.sequences) {
        CHECK(s.first_row == next);
        next += s.rows;
        for (int32_t i = 0; i < s.rows; ++i, ++row) {
          CHECK(s.context_tokens - s.rows + i == rows[row].second);
        }
      }
      CHECK(next == part.rows());
    }
    CHECK(joined.tokens == batch.tokens);
    CHECK(joined.positions == batch.positions);
    CHECK(joined.cache_slots == batch.cache_slots);
    CHECK(joined.wants_logits == batch.wants_logits);
  }
}

}  // namespace
}  // namespace weft
