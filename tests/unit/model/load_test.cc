// What a model file may hold and what it may not: each refusal names the key or the tensor.
#include <cstdlib>
#include <fstream>
#include <limits>
#include <string>

#include "libs/gguf/gguf.h"
#include "tests/support/catch.h"
#include "tests/unit/model/sequence_runner.h"
#include "tests/unit/model/tiny_model.h"

namespace weft {
namespace {

using test::TinyModel;

absl::StatusOr<std::unique_ptr<Model>> LoadTiny(const TinyModel& tiny, ModelOptions options = {}) {
  if (options.threads == 0) options.threads = 1;
  WEFT_ASSIGN_OR_RETURN(auto file, GgufFile::FromBytes(tiny.Bytes()));
  return Model::Load(std::move(file), options);
}

// The error of loading it, "" when it loads.
std::string ErrorOf(const TinyModel& tiny, ModelOptions options = {}) {
  const auto model = LoadTiny(tiny, options);
  return model.ok() ? "" : ToString(model.status());
}

void RequireMentions(const std::string& error, const std::vector<std::string>& words) {
  CAPTURE(error);
  REQUIRE_FALSE(error.empty());
  for (const std::string& word : words) REQUIRE(error.find(word) != std::string::npos);
}

TEST_CASE("A small model loads and tells what it is", "[model]") {
  TinyModel tiny;
  tiny.tied = false;
  const auto model = LoadTiny(tiny);
  INFO(ToString(model.status()));
  REQUIRE(model.ok());
  const ModelConfig& config = (*model)->config();
  REQUIRE(config.layers == 2);
  REQUIRE(config.kv_heads == 2);
  REQUIRE(config.vocab == 300);
  REQUIRE_FALSE(config.tied_embeddings);
  REQUIRE((*model)->quantization() == "Q4_1");
  REQUIRE((*model)->weights_sha256().size() == 64);
  REQUIRE((*model)->numerics_class().find("Q4_1") != std::string::npos);
  REQUIRE((*model)->KvBytesPerBlock(64) == 2u * 2 * 2 * 64 * 64 * 2);
  REQUIRE((*model)->memory_bytes() > 0);
}

TEST_CASE("A missing tensor is named with the shape it should have", "[model]") {
  for (const char* name : {"token_embd.weight", "blk.1.attn_k.weight", "blk.0.ffn_norm.weight",
                           "output_norm.weight", "blk.1.ffn_down.weight"}) {
    TinyModel tiny;
    tiny.missing = {name};
    RequireMentions(ErrorOf(tiny), {name, "missing", "expected shape ["});
  }
}

TEST_CASE("A tensor of another shape is named with both shapes", "[model]") {
  TinyModel tiny;
  tiny.shapes["blk.0.attn_v.weight"] = {256, 256};
  RequireMentions(ErrorOf(tiny),
                  {"blk.0.attn_v.weight", "expected shape [256, 128]", "found [256, 256]"});
  TinyModel flat;
  flat.shapes["blk.0.attn_v.weight"] = {256 * 128};
  RequireMentions(ErrorOf(flat), {"blk.0.attn_v.weight", "found [32768]"});
}

TEST_CASE("A tensor of a type that cannot be computed with is named", "[model]") {
  for (const auto table : {ModelOptions::Table::kCpu, ModelOptions::Table::kRef}) {
    TinyModel tiny;
    tiny.types["blk.1.ffn_up.weight"] = DType::kIQ2_XS;
    RequireMentions(ErrorOf(tiny, {.table = table}),
                    {"UNIMPLEMENTED", "blk.1.ffn_up.weight", "IQ2_XS", "not supported"});
  }
}

TEST_CASE("A tensor that the architecture does not know is refused", "[model]") {
  TinyModel tiny;
  tiny.extra = {"blk.0.attn_sinks.weight"};
  RequireMentions(ErrorOf(tiny), {"UNIMPLEMENTED", "blk.0.attn_sinks.weight"});
}

TEST_CASE("A bias is wanted of all three projections or of none", "[model]") {
  TinyModel tiny;
  tiny.extra = {"blk.0.attn_q.bias"};
  RequireMentions(ErrorOf(tiny), {"blk.0.attn_k.bias", "missing", "expected shape [128]"});
}

TEST_CASE("A missing key is named", "[model]") {
  for (const char* key : {"block_count", "context_length", "embedding_length",
                          "attention.head_count", "attention.layer_norm_rms_epsilon"}) {
    TinyModel tiny;
    tiny.missing = {key};
    RequireMentions(ErrorOf(tiny), {std::string("llama.") + key});
  }
}

TEST_CASE("Hostile values of every key are errors that name the key", "[model]") {
  const uint32_t huge = std::numeric_limits<uint32_t>::max();
  for (const auto& [key, values] : std::map<std::string, std::vector<uint32_t>>{
           {"block_count", {0, 5000, huge}},
           {"context_length", {0, huge, 1u << 30}},
           {"embedding_length", {0, huge, 1u << 31}},
           {"feed_forward_length", {0, huge}},
           {"attention.head_count", {0, huge, 1u << 20}},
           {"attention.head_count_kv", {0, huge, 3, 5}},
           {"attention.key_length", {0, 24, 8, huge, 1024}},
           {"vocab_size", {0, huge}},
           {"rope.dimension_count", {0, 3, 66, huge}},
       }) {
    for (const uint32_t value : values) {
      TinyModel tiny;
      tiny.overrides[key] = value;
      CAPTURE(key, value);
      RequireMentions(ErrorOf(tiny), {"llama."});
    }
  }
}

TEST_CASE("Values within bounds that the tensors contradict are errors, not allocations",
          "[model]") {
  for (const auto& [key, value] : std::map<std::string, uint32_t>{{"block_count", 1024},
                                                                  {"embedding_length", 1u << 20},
                                                                  {"feed_forward_length", 1u << 20},
                                                                  {"attention.head_count", 4096},
                                                                  {"vocab_size", 1u << 24}}) {
    TinyModel tiny;
    tiny.overrides[key] = value;
    RequireMentions(ErrorOf(tiny), {"tensor ", "expected shape"});
  }
}

TEST_CASE("Numbers that make no sense are refused", "[model]") {
  for (const float eps : {0.0f, -1.0f, std::numeric_limits<float>::quiet_NaN(),
                          std::numeric_limits<float>::infinity()}) {
    TinyModel tiny;
    tiny.eps = eps;
    RequireMentions(ErrorOf(tiny), {"layer_norm_rms_epsilon"});
  }
  for (const float base : {0.0f, -5.0f, std::numeric_limits<float>::infinity()}) {
    TinyModel tiny;
    tiny.rope_base = base;
    RequireMentions(ErrorOf(tiny), {"rope.freq_base"});
  }
}

TEST_CASE("What is not supported says so", "[model]") {
  TinyModel other;
  other.architecture = "mamba";
  RequireMentions(ErrorOf(other), {"UNIMPLEMENTED", "general.architecture", "mamba"});
  TinyModel scaling;
  scaling.texts["rope.scaling.type"] = "spiral";
  RequireMentions(ErrorOf(scaling), {"UNIMPLEMENTED", "rope.scaling.type", "spiral"});
  TinyModel values;
  values.overrides["attention.value_length"] = 32;
  RequireMentions(ErrorOf(values), {"UNIMPLEMENTED", "attention.value_length"});
}

TEST_CASE("A mixture of experts that does not add up is refused by name", "[model]") {
  TinyModel experts;
  experts.overrides["expert_count"] = 8;
  RequireMentions(ErrorOf(experts), {"llama.expert_used_count"});
  experts.overrides["expert_used_count"] = 9;
  RequireMentions(ErrorOf(experts), {"llama.expert_used_count", "[1, 8]", "9"});
  experts.overrides["expert_used_count"] = 2;
  RequireMentions(ErrorOf(experts), {"blk.0.ffn_gate_inp.weight", "missing", "[256, 8]"});
  experts.overrides["expert_gating_func"] = 7;
  RequireMentions(ErrorOf(experts), {"UNIMPLEMENTED", "llama.expert_gating_func", "7"});
  experts.overrides["expert_gating_func"] = 1;
  experts.overrides["expert_group_count"] = 3;
  RequireMentions(ErrorOf(experts), {"llama.expert_group_count", "3"});
}

TEST_CASE("Options out of range are refused by name", "[model]") {
  RequireMentions(ErrorOf({}, {.threads = -1}), {"threads"});
  RequireMentions(ErrorOf({}, {.threads = 100000}), {"threads"});
  RequireMentions(ErrorOf({}, {.isa = "sse9"}), {"isa", "sse9"});
  RequireMentions(ErrorOf({}, {.kv_type = DType::kF32}), {"kv_type"});
  RequireMentions(ErrorOf({}, {.table = ModelOptions::Table::kRef, .kv_type = DType::kQ4_0}),
                  {"kv_type", "Q4_0"});
}

TEST_CASE("A file that is not there or not a model is an error with its path", "[model]") {
  RequireMentions(ToString(Model::Load("/nonexistent/m.gguf", {}).status()),
                  {"/nonexistent/m.gguf"});
}

TEST_CASE("Progress ascends to one", "[model]") {
  double last = 0;
  bool ascending = true;
  ModelOptions options;
  uint64_t bytes = 0;
  options.progress = [&](const LoadProgress& progress) {
    ascending &= progress.fraction() >= last;
    last = progress.fraction();
    bytes = progress.bytes;
  };
  REQUIRE(ErrorOf({}, options).empty());
  REQUIRE(ascending);
  REQUIRE(last == 1.0);
  REQUIRE(bytes > 1000);
}

class BatchRules {
 public:
  BatchRules() : model_(LoadTiny({}).value()) {
    WEFT_CHECK(model_->AllocateKv(4, 64).ok());
    logits_.resize(3 * 300);
  }
  StepBatch Good() {
    StepBatch batch;
    batch.tokens = {1, 2, 3};
    batch.positions = {0, 1, 2};
    batch.cache_slots = {128, 129, 130};
    batch.wants_logits = {1, 1, 1};
    batch.sequences = {{0, 3, table_.data(), 1, 3}};
    return batch;
  }
  absl::Status Run(const StepBatch& batch) { return model_->Forward(batch, logits_); }
  Model& model() { return *model_; }
  std::vector<float>& logits() { return logits_; }

 private:
  std::unique_ptr<Model> model_;
  std::vector<int32_t> table_ = {2, 9};
  std::vector<float> logits_;
};

TEST_CASE("Forward checks the batch and names what breaks its rules", "[model]") {
  BatchRules rules;
  REQUIRE(rules.Run(rules.Good()).ok());
  const auto broken = [&](auto&& change, const char* word) {
    StepBatch batch = rules.Good();
    change(batch);
    const absl::Status status = rules.Run(batch);
    CAPTURE(word);
    REQUIRE(status.code() == absl::StatusCode::kInvalidArgument);
    RequireMentions(ToString(status), {word});
  };
  broken([](StepBatch& b) { b.tokens[1] = 300; }, "tokens[1]");
  broken([](StepBatch& b) { b.tokens[2] = -1; }, "tokens[2]");
  broken([](StepBatch& b) { b.positions[1] = 2; }, "positions[1]");
  broken([](StepBatch& b) { b.cache_slots[0] = 0; }, "cache_slots[0]");
  broken([](StepBatch& b) { b.positions.pop_back(); }, "positions");
  broken(
      [](StepBatch& b) {
        b.sequences[0].rows = 2;
        b.sequences[0].context_tokens = 2;
      },
      "sequences: they cover 2 of 3 rows");
  broken([](StepBatch& b) { b.sequences[0].rows = 4; }, "sequences[0]");
  broken([](StepBatch& b) { b.sequences[0].first_row = 1; }, "sequences[0]");
  broken([](StepBatch& b) { b.sequences.clear(); }, "sequences");
  broken([](StepBatch& b) { b.sequences[0].context_tokens = 2; }, "context_tokens");
  broken([](StepBatch& b) { b.sequences[0].context_tokens = 100000; }, "context_tokens");
  broken([](StepBatch& b) { b.sequences[0].blocks = 0; }, "blocks");
  broken([](StepBatch& b) { b.sequences[0].block_table = nullptr; }, "blocks");
  broken(
      [](StepBatch& b) {
        b.sequences[0].context_tokens = 67;  // needs the second page, which does not exist
        b.sequences[0].blocks = 2;
      },
      "block_table[1]");
  broken([](StepBatch& b) { b = StepBatch(); }, "tokens");
  rules.logits().resize(299);
  broken([](StepBatch&) {}, "logits");
}

TEST_CASE("Forward wants pages first, and pages want sensible sizes", "[model]") {
  const auto model = LoadTiny({}).value();
  StepBatch batch;
  REQUIRE(model->Forward(batch, {}).code() == absl::StatusCode::kFailedPrecondition);
  for (const auto& [blocks, tokens] :
       {std::pair{0, 64}, {-1, 64}, {4, 0}, {4, 20}, {4, -64}, {4, 1 << 20}, {1 << 30, 64}}) {
    REQUIRE(model->AllocateKv(blocks, tokens).code() == absl::StatusCode::kInvalidArgument);
  }
  REQUIRE(model->AllocateKv((1 << 25) - 1, 64).code() == absl::StatusCode::kResourceExhausted);
  REQUIRE(model->AllocateKv(8, 64).ok());
  REQUIRE(model->AllocateKv(2, 16).ok());
}

TEST_CASE("layer_progress grows with every layer of a step", "[model]") {
  BatchRules rules;
  const uint64_t before = rules.model().layer_progress();
  REQUIRE(rules.Run(rules.Good()).ok());
  REQUIRE(rules.model().layer_progress() == before + 2);
}

}  // namespace
}  // namespace weft
