// ModelConfig from GGUF metadata.
// Keys: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
#include <limits>
#include <optional>

#include "libs/base/status.h"
#include "libs/gguf/gguf.h"
#include "libs/model/model_config.h"

namespace weft {
namespace {

constexpr int64_t kMaxVocab = 1 << 24;  // see model_config.cc

// Reads keys, remembering the first error, so that the list of keys reads as a list.
class Reader {
 public:
  Reader(const GgufFile& file, std::string_view arch) : file_(file), arch_(arch) {}

  std::string Key(std::string_view name) const { return fmt::format("{}.{}", arch_, name); }
  bool Has(std::string_view name) const { return file_.Has(Key(name)); }

  int32_t Count(std::string_view name, std::optional<int32_t> fallback = std::nullopt) {
    if (fallback.has_value() && !Has(name)) return *fallback;
    const absl::StatusOr<uint64_t> value = file_.GetUint(Key(name));
    if (!value.ok()) return Fail(value.status());
    if (*value > static_cast<uint64_t>(std::numeric_limits<int32_t>::max())) {
      return Fail(InvalidArgument("{}: {} is out of range", Key(name), *value));
    }
    return static_cast<int32_t>(*value);
  }
  float Real(std::string_view name, std::optional<float> fallback = std::nullopt) {
    if (fallback.has_value() && !Has(name)) return *fallback;
    const absl::StatusOr<double> value = file_.GetFloat(Key(name));
    if (!value.ok()) {
      Fail(value.status());
      return 0;
    }
    return static_cast<float>(*value);
  }
  std::string Text(std::string_view key) {
    if (!file_.Has(key)) return "";
    const absl::StatusOr<std::string_view> value = file_.GetString(key);
    if (!value.ok()) {
      Fail(value.status());
      return "";
    }
    return std::string(*value);
  }
  int32_t Fail(absl::Status status) {
    if (status_.ok()) status_ = std::move(status);
    return 0;
  }
  const absl::Status& status() const { return status_; }

 private:
  const GgufFile& file_;
  std::string_view arch_;
  absl::Status status_;
};

// The ids that the metadata itself names as ends; absent or negative ones are none.
absl::Status ReadSpecialIds(const GgufFile& file, ModelConfig& config) {
  const auto read = [&](std::string_view key) -> absl::StatusOr<int32_t> {
    if (!file.Has(key)) return -1;
    WEFT_ASSIGN_OR_RETURN(const int64_t id, file.GetInt(key));
    if (id >= config.vocab) {
      return InvalidArgument("{}: id {} is outside the vocabulary of {}", key, id, config.vocab);
    }
    return id < 0 ? -1 : static_cast<int32_t>(id);
  };
  WEFT_ASSIGN_OR_RETURN(config.bos_id, read("tokenizer.ggml.bos_token_id"));
  for (std::string_view key : {"tokenizer.ggml.eos_token_id", "tokenizer.ggml.eot_token_id"}) {
    WEFT_ASSIGN_OR_RETURN(const int32_t id, read(key));
    const bool known = !config.eos_ids.empty() && config.eos_ids.front() == id;
    if (id >= 0 && !known) config.eos_ids.push_back(id);
  }
  return absl::OkStatus();
}

absl::StatusOr<int32_t> VocabularySize(const GgufFile& file, Reader& reader) {
  if (reader.Has("vocab_size")) return reader.Count("vocab_size");
  // Older files do not say; the embedding's shape does.
  const GgufFile::Tensor* embedding = file.FindTensor("token_embd.weight");
  if (embedding == nullptr || embedding->dims.size() != 2) {
    return InvalidArgument("{}: missing, and there is no 2-dimensional tensor token_embd.weight",
                           reader.Key("vocab_size"));
  }
  const int64_t rows = embedding->dims[1];
  if (rows > kMaxVocab) return InvalidArgument("tensor token_embd.weight: {} rows", rows);
  return static_cast<int32_t>(rows);
}

}  // namespace

absl::StatusOr<ModelConfig> ModelConfig::FromGguf(const GgufFile& file) {
  ModelConfig config;
  WEFT_ASSIGN_OR_RETURN(const std::string_view arch, file.GetString("general.architecture"));
  if (arch != "llama") {
    return Unimplemented("general.architecture: \"{}\" is not supported, only llama", arch);
  }
  config.architecture = std::string(arch);
  Reader reader(file, config.architecture);
  config.name = reader.Text("general.name");
  if (reader.Count("expert_count", 0) > 0) {
    return Unimplemented("{}: mixtures of experts are not supported", reader.Key("expert_count"));
  }
  config.layers = reader.Count("block_count");
  config.hidden = reader.Count("embedding_length");
  config.ffn = reader.Count("feed_forward_length");
  config.context_length = reader.Count("context_length");
  config.heads = reader.Count("attention.head_count");
  config.kv_heads = reader.Count("attention.head_count_kv", config.heads);
  const int32_t quotient = config.heads > 0 ? config.hidden / config.heads : 0;
  config.head_dim = reader.Count("attention.key_length", quotient);
  const int32_t value_dim = reader.Count("attention.value_length", config.head_dim);
  config.rope_dim = reader.Count("rope.dimension_count", config.head_dim);
  config.norm_eps = reader.Real("attention.layer_norm_rms_epsilon");
  config.rope_base = reader.Real("rope.freq_base", 10000.0f);
  WEFT_RETURN_IF_ERROR(reader.status());
  if (value_dim != config.head_dim) {
    return Unimplemented("{}: {} differs from key_length {}, which is not supported",
                         reader.Key("attention.value_length"), value_dim, config.head_dim);
  }

  const std::string scaling = reader.Text(reader.Key("rope.scaling.type"));
  if (scaling == "linear") {
    config.rope_scaling.kind = RopeScaling::Kind::kLinear;
    config.rope_scaling.factor = reader.Real("rope.scaling.factor");
  } else if (scaling.empty() && reader.Has("rope.scale_linear")) {
    config.rope_scaling.kind = RopeScaling::Kind::kLinear;
    config.rope_scaling.factor = reader.Real("rope.scale_linear");
  } else if (!scaling.empty() && scaling != "none") {
    return Unimplemented("{}: \"{}\" is not supported, only none and linear",
                         reader.Key("rope.scaling.type"), scaling);
  }
  WEFT_ASSIGN_OR_RETURN(config.vocab, VocabularySize(file, reader));
  config.tied_embeddings = file.FindTensor("output.weight") == nullptr;
  WEFT_RETURN_IF_ERROR(reader.status());
  WEFT_RETURN_IF_ERROR(config.Validate());
  WEFT_RETURN_IF_ERROR(ReadSpecialIds(file, config));
  return config;
}

}  // namespace weft
