// config.json as public models have it, and as nobody should write it.
#include "libs/model/hf_config.h"

#include <cmath>
#include <nlohmann/json.hpp>

#include "libs/base/status.h"
#include "tests/support/catch.h"

namespace weft {
namespace {

using nlohmann::json;
using Kind = RopeScaling::Kind;

ModelConfig Parse(const std::string& text, const std::string& generation = "") {
  const absl::StatusOr<HfConfig> config = ParseHfConfig(text, generation);
  INFO(ToString(config.status()));
  REQUIRE(config.ok());
  return config->model;
}

std::string Error(const json& config, const std::string& generation = "") {
  const absl::StatusOr<HfConfig> parsed = ParseHfConfig(config.dump(), generation);
  return parsed.ok() ? "no error" : ToString(parsed.status());
}

json Llama() {
  return json::parse(R"({
    "model_type": "llama", "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2,
    "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 300, "rms_norm_eps": 1e-5,
    "max_position_embeddings": 512, "bos_token_id": 1, "eos_token_id": 2})");
}

TEST_CASE("Llama 3.1 as its config.json has it", "[model][hf]") {
  const ModelConfig config = Parse(R"({
    "architectures": ["LlamaForCausalLM"], "attention_bias": false, "attention_dropout": 0.0,
    "bos_token_id": 128000, "eos_token_id": [128001, 128008, 128009], "hidden_act": "silu",
    "hidden_size": 4096, "initializer_range": 0.02, "intermediate_size": 14336,
    "max_position_embeddings": 131072, "mlp_bias": false, "model_type": "llama",
    "num_attention_heads": 32, "num_hidden_layers": 32, "num_key_value_heads": 8,
    "pretraining_tp": 1, "rms_norm_eps": 1e-05,
    "rope_scaling": {"factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
                     "original_max_position_embeddings": 8192, "rope_type": "llama3"},
    "rope_theta": 500000.0, "tie_word_embeddings": false, "torch_dtype": "bfloat16",
    "use_cache": true, "vocab_size": 128256})",
                                   R"({"eos_token_id": [128009, 128001], "temperature": 0.6})");
  CHECK(config.architecture == "llama");
  CHECK(config.layers == 32);
  CHECK(config.head_dim == 128);
  CHECK(config.rope_dim == 128);
  CHECK(config.kv_heads == 8);
  CHECK(config.context_length == 131072);
  CHECK(config.rope_pairing == RopePairing::kHalves);
  CHECK(config.rope_base == 500000.0f);
  CHECK(config.rope_scaling.kind == Kind::kLlama3);
  CHECK(config.rope_scaling.factor == 8.0f);
  CHECK(config.rope_scaling.original_context == 8192);
  CHECK(config.bos_id == 128000);
  CHECK(config.eos_ids == std::vector<int32_t>{128009, 128001, 128008});
  CHECK_FALSE(config.tied_embeddings);
}

TEST_CASE("Gemma 3 as older and newer releases write it", "[model][hf]") {
  const std::string common = R"({
    "attn_logit_softcapping": null, "final_logit_softcapping": null, "head_dim": 256,
    "hidden_activation": "gelu_pytorch_tanh", "hidden_size": 640, "intermediate_size": 2048,
    "max_position_embeddings": 32768, "model_type": "gemma3_text", "num_attention_heads": 4,
    "num_hidden_layers": 18, "num_key_value_heads": 1, "query_pre_attn_scalar": 256,
    "rms_norm_eps": 1e-06, "sliding_window": 512, "vocab_size": 262144, )";
  const ModelConfig older = Parse(common + R"("rope_local_base_freq": 10000.0, "rope_scaling": null,
    "rope_theta": 1000000.0, "_sliding_window_pattern": 6})");
  CHECK(older.architecture == "gemma3");
  CHECK(older.tied_embeddings);
  CHECK(older.post_norms);
  CHECK(older.qk_norm);
  CHECK(older.activation == Activation::kGeluTanh);
  CHECK(older.embedding_scale == std::sqrt(640.0f));
  CHECK(older.attention_scale == 1.0f / 16);
  CHECK(older.sliding_window == 512);
  REQUIRE(older.sliding_layers.size() == 18);
  for (int32_t i = 0; i < 18; ++i) CHECK(older.slides(i) == (i % 6 != 5));
  CHECK(older.rope_base == 1000000.0f);
  CHECK(older.rope_base_sliding == 10000.0f);

  json newer = json::parse(common + R"("rope_parameters": {
    "sliding_attention": {"rope_type": "default", "rope_theta": 10000.0},
    "full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": 1000000.0}}})");
  for (int32_t i = 0; i < 18; ++i) {
    newer["layer_types"].push_back(i % 3 == 2 ? "full_attention" : "sliding_attention");
  }
  const ModelConfig config = Parse(newer.dump());
  CHECK(config.rope_scaling.kind == Kind::kLinear);
  CHECK(config.rope_base_sliding == 10000.0f);
  CHECK(config.slides(0));
  CHECK_FALSE(config.slides(2));
}

TEST_CASE("Phi 3 keeps the original context beside its scaling", "[model][hf]") {
  json phi = Llama();
  phi["model_type"] = "phi3";
  phi["original_max_position_embeddings"] = 128;
  phi["partial_rotary_factor"] = 0.5;
  phi["num_attention_heads"] = 2;
  phi["sliding_window"] = 100;
  phi["rope_scaling"] = {{"type", "longrope"},
                         {"short_factor", std::vector<double>(8, 1.0)},
                         {"long_factor", std::vector<double>(8, 2.0)}};
  const ModelConfig config = Parse(phi.dump());
  CHECK(config.rope_dim == 16);
  CHECK(config.rope_scaling.kind == Kind::kLongRope);
  CHECK(config.rope_scaling.factor == 4.0f);
  CHECK(config.rope_scaling.original_context == 128);
  CHECK(config.rope_scaling.long_factors == std::vector<float>(8, 2.0f));
  CHECK(config.sliding_window == 100);
  CHECK(config.slides(1));
  phi["rope_scaling"]["short_factor"] = std::vector<double>(7, 1.0);
  CHECK_THAT(Error(phi), ContainsSubstring("short_factor"));
}

TEST_CASE("DeepSeek V2 Lite sharpens its attention by mscale", "[model][hf]") {
  const ModelConfig config = Parse(R"({
    "model_type": "deepseek_v2", "attention_bias": false, "first_k_dense_replace": 1,
    "hidden_act": "silu", "hidden_size": 2048, "intermediate_size": 10944, "kv_lora_rank": 512,
    "max_position_embeddings": 163840, "moe_intermediate_size": 1408, "moe_layer_freq": 1,
    "n_group": 1, "n_routed_experts": 64, "n_shared_experts": 2, "norm_topk_prob": false,
    "num_attention_heads": 16, "num_experts_per_tok": 6, "num_hidden_layers": 27,
    "num_key_value_heads": 16, "q_lora_rank": null, "qk_nope_head_dim": 128,
    "qk_rope_head_dim": 64, "rms_norm_eps": 1e-06, "routed_scaling_factor": 1.0,
    "rope_scaling": {"beta_fast": 32, "beta_slow": 1, "factor": 40, "mscale": 0.707,
      "mscale_all_dim": 0.707, "original_max_position_embeddings": 4096, "type": "yarn"},
    "rope_theta": 10000, "scoring_func": "softmax", "topk_group": 1, "topk_method": "greedy",
    "v_head_dim": 128, "vocab_size": 102400})");
  CHECK(config.head_dim == 192);
  CHECK(config.rope_dim == 64);
  CHECK(config.rope_pairing == RopePairing::kNeighbours);
  CHECK(config.mla.kv_lora == 512);
  CHECK(config.mla.q_lora == 0);
  CHECK(config.moe.experts == 64);
  CHECK(config.moe.shared_ffn == 2816);
  CHECK(config.moe.first_dense == 1);
  CHECK_FALSE(config.moe.normalise);
  const double mscale = 0.1 * 0.707 * std::log(40.0) + 1;
  CHECK(config.attention_scale == Approx(mscale * mscale / std::sqrt(192.0)).epsilon(1e-6));
}

TEST_CASE("Windows of Qwen 2 begin at max_window_layers and only if they are used", "[model][hf]") {
  json qwen = Llama();
  qwen["model_type"] = "qwen2";
  qwen["sliding_window"] = 64;
  qwen["max_window_layers"] = 1;
  CHECK(Parse(qwen.dump()).sliding_window == 0);
  CHECK(Parse(qwen.dump()).attention_bias);
  CHECK_FALSE(Parse(qwen.dump()).attention_out_bias);
  qwen["use_sliding_window"] = true;
  const ModelConfig config = Parse(qwen.dump());
  CHECK(config.sliding_window == 64);
  CHECK_FALSE(config.slides(0));
  CHECK(config.slides(1));
}

TEST_CASE("Dynamic scaling is what makes the context longer", "[model][hf]") {
  json llama = Llama();
  llama["rope_scaling"] = {{"type", "dynamic"}, {"factor", 2.0}};
  const ModelConfig config = Parse(llama.dump());
  CHECK(config.context_length == 1024);
  CHECK(config.rope_scaling.original_context == 512);
}

TEST_CASE("FP8 says how its scales are laid out", "[model][hf]") {
  json llama = Llama();
  llama["quantization_config"] = {{"quant_method", "fp8"}, {"weight_block_size", {128, 128}}};
  const HfConfig config = ParseHfConfig(llama.dump(), "").value();
  CHECK(config.fp8);
  CHECK(config.fp8_block_rows == 128);
  llama["quantization_config"] = {{"quant_method", "gptq"}, {"bits", 4}};
  CHECK_THAT(Error(llama), ContainsSubstring("UNIMPLEMENTED") &&
                               ContainsSubstring("quant_method") && ContainsSubstring("gptq"));
  llama["quantization_config"] = {{"quant_method", "fp8"}, {"weight_block_size", {128, 0}}};
  CHECK_THAT(Error(llama), ContainsSubstring("weight_block_size"));
}

TEST_CASE("What is not supported is named with its key", "[model][hf]") {
  const auto with = [](const std::string& key, const json& value) {
    json config = Llama();
    config[key] = value;
    return Error(config);
  };
  CHECK_THAT(with("model_type", "mamba"),
             ContainsSubstring("UNIMPLEMENTED") && ContainsSubstring("model_type: \"mamba\""));
  CHECK_THAT(with("hidden_act", "relu2"),
             ContainsSubstring("UNIMPLEMENTED") && ContainsSubstring("hidden_act: \"relu2\""));
  CHECK_THAT(with("rope_scaling", {{"rope_type", "spiral"}, {"factor", 2}}),
             ContainsSubstring("UNIMPLEMENTED") && ContainsSubstring("rope_type \"spiral\""));
  CHECK_THAT(with("rope_scaling", {{"rope_type", "linear"}, {"factor", 2}, {"twist", 1}}),
             ContainsSubstring("rope_scaling: key 'twist'"));
  CHECK_THAT(with("rope_parameters", {{"rope_type", "spiral"}, {"rope_theta", 1e4}}),
             ContainsSubstring("rope_parameters: rope_type \"spiral\""));
}

TEST_CASE("Hostile values in config.json are errors that name the key", "[model][hf]") {
  CHECK(Error(Llama()) == "no error");
  for (const char* key : {"hidden_size", "intermediate_size", "num_hidden_layers", "vocab_size",
                          "num_attention_heads", "max_position_embeddings"}) {
    json config = Llama();
    config.erase(key);
    CHECK_THAT(Error(config), ContainsSubstring(std::string("key '") + key + "' is missing"));
    for (const json& value :
         {json(0), json(-1), json(1.5), json("64"), json(1e300), json(uint64_t{1} << 63),
          json::array(), json(true), json(4294967360LL)}) {
      config[key] = value;
      CHECK_THAT(Error(config), ContainsSubstring(key));
    }
  }
  const auto with = [](const std::string& key, const json& value) {
    json config = Llama();
    config[key] = value;
    return Error(config);
  };
  CHECK_THAT(with("num_key_value_heads", 3), ContainsSubstring("head_count_kv"));
  CHECK_THAT(with("head_dim", 24), ContainsSubstring("key_length"));
  CHECK_THAT(with("rms_norm_eps", -1), ContainsSubstring("epsilon"));
  CHECK_THAT(with("rms_norm_eps", "x"), ContainsSubstring("rms_norm_eps"));
  CHECK_THAT(with("rope_theta", 0), ContainsSubstring("freq_base"));
  CHECK_THAT(with("attention_bias", "yes"), ContainsSubstring("attention_bias"));
  CHECK_THAT(with("partial_rotary_factor", 2), ContainsSubstring("partial_rotary_factor"));
  CHECK_THAT(with("partial_rotary_factor", 0.1875), ContainsSubstring("dimension_count"));
  CHECK_THAT(with("rope_scaling", 7), ContainsSubstring("rope_scaling"));
  CHECK_THAT(with("rope_scaling", {{"rope_type", "yarn"}, {"factor", "4"}}),
             ContainsSubstring("rope_scaling: factor"));
  CHECK_THAT(with("rope_scaling", {{"rope_type", "linear"}}),
             ContainsSubstring("key 'factor' is missing"));
  CHECK_THAT(with("eos_token_id", 300), ContainsSubstring("eos_token_id"));
  CHECK_THAT(with("eos_token_id", "x"), ContainsSubstring("eos_token_id"));
  CHECK_THAT(with("bos_token_id", {-5}), ContainsSubstring("bos_token_id"));
  CHECK_THAT(Error(Llama(), "[]"), ContainsSubstring("generation_config.json"));
  CHECK_THAT(Error(Llama(), "{"), ContainsSubstring("generation_config.json"));
  CHECK_THAT(ToString(ParseHfConfig("{\"a\":1,\"a\":2}", "").status()),
             ContainsSubstring("config.json"));
  CHECK_THAT(ToString(ParseHfConfig("[]", "").status()), ContainsSubstring("expected an object"));
  CHECK_THAT(ToString(ParseHfConfig(std::string(5 << 20, ' '), "").status()),
             ContainsSubstring("the limit is"));
}

TEST_CASE("Layer lists must have one entry for each layer", "[model][hf]") {
  json gemma = Llama();
  gemma["model_type"] = "gemma2";
  gemma["sliding_window"] = 16;
  gemma["layer_types"] = {"sliding_attention"};
  CHECK_THAT(Error(gemma), ContainsSubstring("layer_types: expected 2 layers, found 1"));
  gemma["layer_types"] = {"sliding_attention", "chunked_attention"};
  CHECK_THAT(Error(gemma), ContainsSubstring("layer_types: \"chunked_attention\""));
  json smol = Llama();
  smol["model_type"] = "smollm3";
  smol["no_rope_layers"] = {1, 0, 1};
  CHECK_THAT(Error(smol), ContainsSubstring("no_rope_layers: expected 2 layers, found 3"));
  smol["no_rope_layers"] = {1, 0};
  CHECK_FALSE(Parse(smol.dump()).rotates(1));
}

}  // namespace
}  // namespace weft
