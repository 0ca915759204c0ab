// A small random Llama as a GGUF file in memory, and ways to spoil it.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <map>
#include <random>
#include <string>
#include <vector>

#include "libs/gguf/gguf_writer.h"
#include "libs/tensor/dtype.h"
#include "tests/support/random_blocks.h"

namespace weft::test {

struct TinyModel {
  DType type = DType::kQ4_1;  // of the matrices
  uint32_t layers = 2, heads = 4, kv_heads = 2, head_dim = 64, hidden = 256, ffn = 512;
  uint32_t vocab = 300, context = 512;
  float eps = 1e-5f, rope_base = 10000.0f;
  std::string architecture = "llama";
  bool tied = true;
  // Applied to the finished lists.
  std::map<std::string, uint32_t> overrides;           // llama.<key> = value
  std::map<std::string, std::string> texts;            // llama.<key> = value
  std::vector<std::string> missing;                    // tensors and keys to leave out
  std::map<std::string, std::vector<int64_t>> shapes;  // tensors of another shape
  std::map<std::string, DType> types;                  // tensors of another type
  std::vector<std::string> extra;                      // more tensors, [hidden]

  std::string Bytes() const {
    GgufWriter writer;
    writer.AddString("general.architecture", architecture);
    const auto skip = [&](const std::string& name) {
      return std::find(missing.begin(), missing.end(), name) != missing.end();
    };
    const auto number = [&](const std::string& key, uint32_t value) {
      if (skip(key)) return;
      const auto found = overrides.find(key);
      writer.AddUint32("llama." + key, found == overrides.end() ? value : found->second);
    };
    number("block_count", layers);
    number("context_length", context);
    number("embedding_length", hidden);
    number("feed_forward_length", ffn);
    number("attention.head_count", heads);
    number("attention.head_count_kv", kv_heads);
    number("attention.key_length", head_dim);
    number("vocab_size", vocab);
    for (const char* key : {"rope.dimension_count", "expert_count", "expert_used_count",
                            "expert_gating_func", "expert_group_count", "attention.value_length"}) {
      if (overrides.count(key) > 0) number(key, 0);
    }
    if (!skip("attention.layer_norm_rms_epsilon")) {
      writer.AddFloat32("llama.attention.layer_norm_rms_epsilon", eps);
    }
    writer.AddFloat32("llama.rope.freq_base", rope_base);
    for (const auto& [key, value] : texts) writer.AddString("llama." + key, value);

    std::mt19937 random(5);
    data_.clear();
    const auto add = [&](const std::string& name, std::vector<int64_t> dims, DType tensor_type,
                         float centre) {
      if (skip(name)) return;
      if (const auto it = shapes.find(name); it != shapes.end()) dims = it->second;
      if (const auto it = types.find(name); it != types.end()) tensor_type = it->second;
      int64_t elements = 1;
      for (const int64_t dim : dims) elements *= dim;
      data_.push_back(RandomTensor(tensor_type, elements, centre, random));
      pending_.push_back({name, tensor_type, dims});
    };
    pending_.clear();
    const int64_t h = hidden;
    const int64_t q = static_cast<int64_t>(heads) * head_dim;
    const int64_t kv = static_cast<int64_t>(kv_heads) * head_dim;
    add("token_embd.weight", {h, vocab}, type, 0);
    for (uint32_t i = 0; i < layers; ++i) {
      const std::string prefix = "blk." + std::to_string(i) + ".";
      add(prefix + "attn_norm.weight", {h}, DType::kF32, 1);
      add(prefix + "attn_q.weight", {h, q}, type, 0);
      add(prefix + "attn_k.weight", {h, kv}, type, 0);
      add(prefix + "attn_v.weight", {h, kv}, type, 0);
      add(prefix + "attn_output.weight", {q, h}, type, 0);
      add(prefix + "ffn_norm.weight", {h}, DType::kF32, 1);
      add(prefix + "ffn_gate.weight", {h, ffn}, type, 0);
      add(prefix + "ffn_up.weight", {h, ffn}, type, 0);
      add(prefix + "ffn_down.weight", {static_cast<int64_t>(ffn), h}, type, 0);
    }
    add("output_norm.weight", {h}, DType::kF32, 1);
    if (!tied) add("output.weight", {h, vocab}, type, 0);
    for (const std::string& name : extra) add(name, {h}, DType::kF32, 0);
    for (size_t i = 0; i < pending_.size(); ++i) {
      writer.AddTensor(pending_[i].name, static_cast<uint32_t>(pending_[i].type), pending_[i].dims,
                       data_[i]);
    }
    return writer.Finish();
  }

 private:
  struct Pending {
    std::string name;
    DType type;
    std::vector<int64_t> dims;
  };

  static std::string RandomTensor(DType type, int64_t elements, float centre,
                                  std::mt19937& random) {
    const std::vector<uint8_t> bytes =
        RandomTensorBytes(type, elements, centre, centre == 0 ? 0.06f : 0.2f, random);
    return {bytes.begin(), bytes.end()};
  }

  mutable std::vector<std::string> data_;
  mutable std::vector<Pending> pending_;
};

}  // namespace weft::test
