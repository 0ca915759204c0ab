#include "bench/gpu/random_model.h"

#include <sys/mman.h>

#include <map>
#include <memory>
#include <utility>

#include "libs/base/status.h"
#include "libs/tensor/storage.h"

namespace weft::bench {
namespace {

struct Shape {
  std::string_view name, architecture;
  int32_t layers, heads, kv_heads, head_dim, hidden, ffn, vocab, context;
  float rope_base;
  bool tied, attention_bias;
};

// From the config.json of the published checkpoints.
constexpr Shape kShapes[] = {
    {"tiny", "llama", 2, 4, 2, 32, 64, 96, 320, 1024, 10'000, false, false},
    {"llama3-8b", "llama", 32, 32, 8, 128, 4096, 14'336, 128'256, 16'384, 500'000, false, false},
    {"llama3-70b", "llama", 80, 64, 8, 128, 8192, 28'672, 128'256, 16'384, 500'000, false, false},
    {"qwen2.5-coder-7b", "qwen2", 28, 28, 4, 128, 3584, 18'944, 152'064, 16'384, 1'000'000, false,
     true},
    {"qwen2.5-coder-32b", "qwen2", 64, 40, 8, 128, 5120, 27'648, 152'064, 16'384, 1'000'000, false,
     true},
};

// Address space that nothing stands behind.
class Addresses {
 public:
  explicit Addresses(uint64_t bytes) : bytes_(bytes) {
    void* at = mmap(nullptr, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    WEFT_CHECK(at != MAP_FAILED);
    begin_ = static_cast<const uint8_t*>(at);
  }
  ~Addresses() { munmap(const_cast<uint8_t*>(begin_), bytes_); }
  Addresses(const Addresses&) = delete;
  Addresses& operator=(const Addresses&) = delete;
  const uint8_t* begin() const { return begin_; }

 private:
  const uint8_t* begin_ = nullptr;
  const uint64_t bytes_;
};

class RandomTensors final : public TensorSource {
 public:
  RandomTensors(const ModelConfig& c, DType type) {
    const int64_t q = int64_t{c.heads} * c.head_dim;
    const int64_t kv = int64_t{c.kv_heads} * c.head_dim;
    Matrix("token_embd.weight", c.hidden, c.vocab, type);
    for (int32_t i = 0; i < c.layers; ++i) {
      const std::string layer = fmt::format("blk.{}.", i);
      Vector(layer + "attn_norm.weight", c.hidden, 1);
      Matrix(layer + "attn_q.weight", c.hidden, q, type);
      Matrix(layer + "attn_k.weight", c.hidden, kv, type);
      Matrix(layer + "attn_v.weight", c.hidden, kv, type);
      if (c.attention_bias) {
        Vector(layer + "attn_q.bias", q, 0.01f);
        Vector(layer + "attn_k.bias", kv, 0.01f);
        Vector(layer + "attn_v.bias", kv, 0.01f);
      }
      Matrix(layer + "attn_output.weight", q, c.hidden, type);
      Vector(layer + "ffn_norm.weight", c.hidden, 1);
      Matrix(layer + "ffn_gate.weight", c.hidden, c.ffn, type);
      Matrix(layer + "ffn_up.weight", c.hidden, c.ffn, type);
      Matrix(layer + "ffn_down.weight", c.ffn, c.hidden, type);
    }
    Vector("output_norm.weight", c.hidden, 1);
    if (!c.tied_embeddings) Matrix("output.weight", c.hidden, c.vocab, type);
    addresses_ = std::make_unique<Addresses>(bytes_ + 1);
    for (Tensor& tensor : tensors_) {
      if (tensor.data == nullptr) tensor.data = addresses_->begin() + offsets_.at(tensor.name);
    }
    for (size_t i = 0; i < tensors_.size(); ++i) by_name_[tensors_[i].name] = i;
  }

  std::span<const Tensor> tensors() const override { return tensors_; }
  const Tensor* Find(std::string_view name) const override {
    const auto found = by_name_.find(name);
    return found == by_name_.end() ? nullptr : &tensors_[found->second];
  }
  std::string Sha256() const override { return std::string(64, '0'); }
  uint64_t bytes() const override { return bytes_; }
  void Release(const uint8_t*, uint64_t) const override {}
  void ReleaseAll() const override {}

 private:
  void Matrix(const std::string& name, int64_t cols, int64_t rows, DType type) {
    const uint64_t bytes = *BytesFor(type, cols * rows);
    offsets_[name] = bytes_;
    bytes_ += (bytes + 255) / 256 * 256;
    tensors_.push_back({name, type, {cols, rows}, bytes, nullptr});
  }
  void Vector(const std::string& name, int64_t length, float value) {
    vectors_.push_back(std::make_unique<std::vector<float>>(static_cast<size_t>(length), value));
    tensors_.push_back({name,
                        DType::kF32,
                        {length},
                        static_cast<uint64_t>(length) * 4,
                        reinterpret_cast<const uint8_t*>(vectors_.back()->data())});
  }

  std::vector<Tensor> tensors_;
  std::vector<std::unique_ptr<std::vector<float>>> vectors_;
  std::map<std::string, uint64_t> offsets_;
  std::map<std::string, size_t, std::less<>> by_name_;
  uint64_t bytes_ = 0;
  std::unique_ptr<Addresses> addresses_;
};

}  // namespace

std::vector<std::string_view> ShapeNames() {
  std::vector<std::string_view> names;
  for (const Shape& shape : kShapes) names.push_back(shape.name);
  return names;
}

absl::StatusOr<ModelConfig> ShapeOf(std::string_view name) {
  for (const Shape& s : kShapes) {
    if (s.name != name) continue;
    ModelConfig config;
    config.architecture = s.architecture;
    config.name = s.name;
    config.layers = s.layers;
    config.heads = s.heads;
    config.kv_heads = s.kv_heads;
    config.head_dim = config.rope_dim = s.head_dim;
    config.hidden = s.hidden;
    config.ffn = s.ffn;
    config.vocab = s.vocab;
    config.context_length = s.context;
    config.norm_eps = 1e-5f;
    config.rope_base = s.rope_base;
    config.rope_pairing = RopePairing::kHalves;
    config.tied_embeddings = s.tied;
    config.attention_bias = s.attention_bias;
    return config;
  }
  return InvalidArgument("shape: expected one of {}, found {}", fmt::join(ShapeNames(), ", "),
                         name);
}

ModelSource RandomSource(const ModelConfig& config, DType type) {
  return {config, std::make_shared<RandomTensors>(config, type), ""};
}

uint64_t WeightBytesOfStep(const ModelConfig& c, DType type) {
  const int64_t q = int64_t{c.heads} * c.head_dim;
  const int64_t kv = int64_t{c.kv_heads} * c.head_dim;
  const int64_t layer = int64_t{c.hidden} * (2 * q + 2 * kv + 3 * int64_t{c.ffn});
  return *BytesFor(type, layer * c.layers + int64_t{c.hidden} * c.vocab);
}

uint64_t KvBytesOfToken(const ModelConfig& c) {
  return static_cast<uint64_t>(c.layers) * 2 * static_cast<uint64_t>(c.kv_heads * c.head_dim) * 2;
}

}  // namespace weft::bench
