// What is made of a checkpoint's tensors, and checkpoints whose tensors are not what the
// configuration says.
#include "libs/model/hf_tensors.h"

#include <unistd.h>

#include <cstring>
#include <filesystem>
#include <fstream>

#include "libs/base/status.h"
#include "libs/model/hf_names.h"
#include "libs/tensor/half.h"
#include "tests/support/catch.h"
#include "tests/support/safetensors_builder.h"

namespace weft {
namespace {

using test::SafetensorsBuilder;

std::string Floats(const std::vector<float>& values) {
  std::string out(values.size() * sizeof(float), '\0');
  std::memcpy(out.data(), values.data(), out.size());
  return out;
}

std::vector<float> Values(const Tensor* tensor) {
  REQUIRE(tensor != nullptr);
  int64_t elements = 1;
  for (const int64_t dim : tensor->dims) elements *= dim;
  std::vector<float> out(static_cast<size_t>(elements));
  REQUIRE(Dequantize(tensor->type, tensor->data, elements, out.data()));
  return out;
}

HfConfig Config(HfLayout layout) {
  HfConfig config;
  config.layout = layout;
  config.model.architecture = "test";
  config.model.layers = 2;
  config.model.heads = 2;
  config.model.kv_heads = 1;
  config.model.head_dim = 1;
  config.model.ffn = 1;
  return config;
}

absl::StatusOr<std::shared_ptr<const HfTensorSource>> Open(const std::string& bytes,
                                                           const HfConfig& config) {
  std::string folder = (std::filesystem::temp_directory_path() / "weft_hf_XXXXXX").string();
  WEFT_CHECK(::mkdtemp(folder.data()) != nullptr);
  std::ofstream(folder + "/model.safetensors", std::ios::binary) << bytes;
  auto checkpoint = SafetensorsCheckpoint::Open(folder);
  std::filesystem::remove_all(folder);  // the mapping stays
  WEFT_CHECK(checkpoint.ok());
  return HfTensorSource::Create(*std::move(checkpoint), config, "{}");
}

std::string Error(const SafetensorsBuilder& file, const HfConfig& config) {
  const auto source = Open(file.Finish(), config);
  return source.ok() ? "no error" : ToString(source.status());
}

TEST_CASE("Tensors get GGUF's names and its order of dimensions", "[model][hf]") {
  const auto name = [](const std::string& text, HfLayout layout) {
    const auto found = TranslateHfName(text, layout, 12, 8);
    return found.has_value() ? found->gguf : "nothing";
  };
  using L = HfLayout;
  CHECK(name("model.layers.11.self_attn.q_proj.weight", L::kLlama) == "blk.11.attn_q.weight");
  CHECK(name("model.layers.0.self_attn.k_proj.bias", L::kLlama) == "blk.0.attn_k.bias");
  CHECK(name("model.layers.3.mlp.experts.7.up_proj.weight", L::kDeepSeek) ==
        "blk.3.ffn_up_exps.weight");
  CHECK(name("model.layers.3.block_sparse_moe.experts.1.w2.weight", L::kMixtral) ==
        "blk.3.ffn_down_exps.weight");
  CHECK(name("transformer.h.2.ln_1.bias", L::kStarCoder) == "blk.2.attn_norm.bias");
  CHECK(name("transformer.wpe.weight", L::kStarCoder) == "position_embd.weight");
  CHECK(name("model.layers.3.post_attention_layernorm.weight", L::kLlama) ==
        "blk.3.ffn_norm.weight");
  CHECK(name("model.layers.3.post_attention_layernorm.weight", L::kGemma) ==
        "blk.3.post_attention_norm.weight");
  for (const char* unknown :
       {"model.layers.12.self_attn.q_proj.weight", "model.layers.01.self_attn.q_proj.weight",
        "model.layers.-1.self_attn.q_proj.weight", "model.layers.1.self_attn.q_proj",
        "model.layers.1.self_attn.q_proj.zero", "model.layers.1", "model.layers.", "", ".",
        "model.layers.1.mlp.experts.8.up_proj.weight", "model.layers.1.mlp.experts.1.w1.weight",
        "visual.patch_embed.weight", "model.layers.99999999999.self_attn.q_proj.weight"}) {
    CAPTURE(unknown);
    CHECK(name(unknown, L::kLlama) == "nothing");
  }
  const auto file = SafetensorsBuilder().Add("model.embed_tokens.weight", "F32", {3, 2},
                                             Floats({1, 2, 3, 4, 5, 6}));
  const auto source = Open(file.Finish(), Config(L::kLlama)).value();
  const Tensor* tensor = source->Find("token_embd.weight");
  REQUIRE(tensor != nullptr);
  CHECK(tensor->dims == std::vector<int64_t>{2, 3});
  CHECK(tensor->bytes == 24);
  CHECK(source->Sha256().size() == 64);
}

TEST_CASE("Fused matrices and their biases are split by rows", "[model][hf]") {
  const auto file =
      SafetensorsBuilder()
          .Add("model.layers.0.self_attn.qkv_proj.weight", "F32", {4, 2},
               Floats({1, 2, 3, 4, 5, 6, 7, 8}))
          .Add("model.layers.0.mlp.gate_up_proj.weight", "F32", {2, 2}, Floats({1, 2, 3, 4}));
  const auto source = Open(file.Finish(), Config(HfLayout::kPhi3)).value();
  CHECK(Values(source->Find("blk.0.attn_q.weight")) == std::vector<float>{1, 2, 3, 4});
  CHECK(source->Find("blk.0.attn_q.weight")->dims == std::vector<int64_t>{2, 2});
  CHECK(Values(source->Find("blk.0.attn_k.weight")) == std::vector<float>{5, 6});
  CHECK(Values(source->Find("blk.0.attn_v.weight")) == std::vector<float>{7, 8});
  CHECK(Values(source->Find("blk.0.ffn_gate.weight")) == std::vector<float>{1, 2});
  CHECK(Values(source->Find("blk.0.ffn_up.weight")) == std::vector<float>{3, 4});
  const auto bias = SafetensorsBuilder().Add("transformer.h.1.attn.c_attn.bias", "F32", {4},
                                             Floats({1, 2, 3, 4}));
  const auto star = Open(bias.Finish(), Config(HfLayout::kStarCoder)).value();
  CHECK(Values(star->Find("blk.1.attn_q.bias")) == std::vector<float>{1, 2});
  CHECK(Values(star->Find("blk.1.attn_v.bias")) == std::vector<float>{4});
  CHECK_THAT(Error(SafetensorsBuilder().Add("model.layers.0.self_attn.qkv_proj.weight", "F32",
                                            {5, 1}, Floats({1, 2, 3, 4, 5})),
                   Config(HfLayout::kPhi3)),
             ContainsSubstring("qkv_proj") && ContainsSubstring("expected 4 rows"));
}

TEST_CASE("Gemma's norms get the one that they leave out", "[model][hf]") {
  const uint16_t half = FloatToHalf(0.5f);
  const auto file = SafetensorsBuilder().Add("model.norm.weight", "F16", {1},
                                             std::string(reinterpret_cast<const char*>(&half), 2));
  const auto source = Open(file.Finish(), Config(HfLayout::kGemma)).value();
  CHECK(Values(source->Find("output_norm.weight")) == std::vector<float>{1.5f});
}

TEST_CASE("Experts are stacked in the order of their numbers, and none may miss", "[model][hf]") {
  HfConfig config = Config(HfLayout::kMixtral);
  config.model.moe.experts = 11;
  const auto file = [](int experts) {
    SafetensorsBuilder builder;
    for (int i = experts - 1; i >= 0; --i) {
      builder.Add("model.layers.0.block_sparse_moe.experts." + std::to_string(i) + ".w1.weight",
                  "F32", {1, 2}, Floats({static_cast<float>(i), 0.5f}));
    }
    return builder;
  };
  const auto source = Open(file(11).Finish(), config).value();
  const Tensor* stack = source->Find("blk.0.ffn_gate_exps.weight");
  REQUIRE(stack != nullptr);
  CHECK(stack->dims == std::vector<int64_t>{2, 1, 11});
  const std::vector<float> values = Values(stack);
  for (size_t i = 0; i < 11; ++i) CHECK(values[2 * i] == static_cast<float>(i));
  CHECK_THAT(Error(file(10), config), ContainsSubstring("blk.0.ffn_gate_exps.weight") &&
                                          ContainsSubstring("expected 11 experts, found 10"));
  SafetensorsBuilder other = file(10);
  other.Add("model.layers.0.block_sparse_moe.experts.10.w1.weight", "F32", {2, 1}, Floats({1, 2}));
  CHECK_THAT(Error(other, config), ContainsSubstring("expert 10 is F32 [2, 1]"));
}

TEST_CASE("FP8 is multiplied by the scale of its tensor, row or block", "[model][hf]") {
  // 0x38 is 1, 0x40 is 2, 0x30 is 0.5, 0x01 is 2^-9.
  const std::string codes("\x38\x40\x30\x01\x38\x38", 6);
  const std::string name = "model.layers.0.mlp.up_proj.weight";
  HfConfig config = Config(HfLayout::kLlama);
  config.fp8 = true;
  const auto values = [&](const SafetensorsBuilder& file) {
    const auto source = Open(file.Finish(), config);
    INFO(ToString(source.status()));
    REQUIRE(source.ok());
    REQUIRE((*source)->Find("blk.0.ffn_up.weight")->type == DType::kF32);
    return Values((*source)->Find("blk.0.ffn_up.weight"));
  };
  const auto file = [&](const std::string& end, const std::vector<int64_t>& shape,
                        const std::vector<float>& scales) {
    return SafetensorsBuilder()
        .Add(name, "F8_E4M3", {2, 3}, codes)
        .Add(name + end, "F32", shape, Floats(scales));
  };
  const float tiny = 0x1p-9f;
  CHECK(values(file("_scale", {}, {3})) == std::vector<float>{3, 6, 1.5f, 3 * tiny, 3, 3});
  CHECK(values(file("_scale", {1}, {3})) == std::vector<float>{3, 6, 1.5f, 3 * tiny, 3, 3});
  CHECK(values(file("_scale", {2, 1}, {3, 5})) == std::vector<float>{3, 6, 1.5f, 5 * tiny, 5, 5});
  CHECK_THAT(Error(file("_scale", {3}, {1, 2, 3}), config),
             ContainsSubstring("its scale has shape"));
  CHECK_THAT(Error(SafetensorsBuilder().Add(name, "F8_E4M3", {2, 3}, codes), config),
             ContainsSubstring(name) && ContainsSubstring("_scale"));
  config.fp8_block_rows = 1;
  config.fp8_block_cols = 2;
  CHECK(values(file("_scale_inv", {2, 2}, {1, 10, 100, 1000})) ==
        std::vector<float>{1, 2, 5, 100 * tiny, 100, 1000});
  CHECK_THAT(Error(file("_scale_inv", {2, 3}, {1, 2, 3, 4, 5, 6}), config),
             ContainsSubstring("its scale has shape [2, 3], expected [2, 2]"));
  config.fp8 = false;
  CHECK_THAT(Error(file("_scale", {}, {3}), config), ContainsSubstring("quantization_config"));
}

TEST_CASE("Tensors that are unknown, of a strange type or there twice are refused by name",
          "[model][hf]") {
  const HfConfig config = Config(HfLayout::kLlama);
  CHECK_THAT(
      Error(SafetensorsBuilder().Add("model.vision.weight", "F32", {1}, Floats({1})), config),
      ContainsSubstring("UNIMPLEMENTED") && ContainsSubstring("model.vision.weight"));
  CHECK_THAT(Error(SafetensorsBuilder().Add("model.norm.weight", "I64", {1}, "12345678"), config),
             ContainsSubstring("model.norm.weight") && ContainsSubstring("dtype I64"));
  CHECK_THAT(Error(SafetensorsBuilder().Add("model.norm.weight", "F32", {}, Floats({1})), config),
             ContainsSubstring("1 to 3 dimensions"));
  CHECK_THAT(Error(SafetensorsBuilder().Add("model.norm.weight", "F32", {0}, ""), config),
             ContainsSubstring("1 to 3 dimensions"));
  CHECK_THAT(
      Error(SafetensorsBuilder()
                .Add("model.layers.0.mlp.up_proj.weight", "F32", {1, 1}, Floats({1}))
                .Add("model.layers.0.mlp.gate_up_proj.weight", "F32", {2, 1}, Floats({1, 2})),
            Config(HfLayout::kPhi3)),
      ContainsSubstring("blk.0.ffn_up.weight"));
  // Buffers of older checkpoints, and the head that a tied model does not use, are left alone.
  HfConfig tied = config;
  tied.model.tied_embeddings = true;
  const auto source =
      Open(SafetensorsBuilder()
               .Add("model.layers.1.self_attn.rotary_emb.inv_freq", "F32", {1}, Floats({1}))
               .Add("lm_head.weight", "F32", {1, 1}, Floats({1}))
               .Add("model.embed_tokens.weight", "F32", {1, 1}, Floats({1}))
               .Finish(),
           tied);
  INFO(ToString(source.status()));
  REQUIRE(source.ok());
  CHECK((*source)->tensors().size() == 1);
}

}  // namespace
}  // namespace weft
