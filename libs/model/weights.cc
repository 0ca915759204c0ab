#include "libs/model/weights.h"

#include <map>
#include <set>
#include <string>

#include "libs/base/status.h"
#include "libs/model/tensor_source.h"

namespace weft {
namespace {

std::string Shape(const std::vector<int64_t>& dims) {
  return fmt::format("[{}]", fmt::join(dims, ", "));
}

class Loader {
 public:
  Loader(const WeightSource& source, const OpTable& table, OpContext& context)
      : source_(source), tensors_(source.tensors), table_(table), context_(context) {}

  // GGUF order: dims[0] is the contiguous one, so a matrix is {cols, rows}.
  absl::StatusOr<const Tensor*> Find(const std::string& name, const std::vector<int64_t>& dims) {
    const Tensor* tensor = tensors_.Find(name);
    if (tensor == nullptr) {
      return InvalidArgument("tensor {}: missing; expected shape {}", name, Shape(dims));
    }
    if (tensor->dims != dims) {
      return InvalidArgument("tensor {}: expected shape {}, found {}", name, Shape(dims),
                             Shape(tensor->dims));
    }
    if (!IsSupported(tensor->type)) {
      return Unimplemented("tensor {}: type {} is not supported (only {})", name,
                           Name(tensor->type), SupportedTypeNames());
    }
    int64_t elements = 1;
    for (const int64_t dim : dims) elements *= dim;
    const std::optional<uint64_t> row = BytesFor(tensor->type, dims[0]);
    const std::optional<uint64_t> bytes = BytesFor(tensor->type, elements);
    if (!row.has_value() || !bytes.has_value()) {
      return InvalidArgument("tensor {}: rows of {} elements are no whole blocks of {}", name,
                             dims[0], Name(tensor->type));
    }
    if (tensor->bytes < *bytes || tensor->data == nullptr) {
      return InvalidArgument("tensor {}: expected {} bytes, found {}", name, *bytes, tensor->bytes);
    }
    known_.insert(name);
    return tensor;
  }

  absl::Status Vector(const std::string& name, int64_t length, std::vector<float>& out) {
    WEFT_ASSIGN_OR_RETURN(const Tensor* tensor, Find(name, {length}));
    out.resize(static_cast<size_t>(length));
    WEFT_CHECK(Dequantize(tensor->type, tensor->data, length, out.data()));
    return absl::OkStatus();
  }

  absl::StatusOr<Weight> Raw(const std::string& name, int64_t rows, int64_t cols) {
    WEFT_ASSIGN_OR_RETURN(const Tensor* tensor, Find(name, {cols, rows}));
    Weight raw;
    raw.type = tensor->type;
    raw.rows = rows;
    raw.cols = cols;
    raw.raw = tensor->data;
    return raw;
  }

  absl::Status Matrix(const std::string& name, int64_t rows, int64_t cols, Weight& out) {
    WEFT_ASSIGN_OR_RETURN(const Weight raw, Raw(name, rows, cols));
    WEFT_ASSIGN_OR_RETURN(out, table_.prepare(raw, name, context_));
    const uint64_t bytes = *BytesFor(raw.type, rows * cols);
    elements_[raw.type] += rows * cols;
    if (out.packed != nullptr) {
      packed_bytes_ += out.packed_bytes;
      tensors_.Release(raw.raw, bytes);
    }
    done_bytes_ += bytes;
    if (source_.progress) {
      source_.progress(
          std::min(1.0, static_cast<double>(done_bytes_) /
                            static_cast<double>(std::max<uint64_t>(1, tensors_.bytes()))));
    }
    return absl::OkStatus();
  }

  // A tensor that nobody asked for would be computed without: better to refuse the file.
  absl::Status NothingElse(std::string_view architecture) const {
    for (const Tensor& tensor : tensors_.tensors()) {
      if (known_.count(tensor.name) == 0) {
        return Unimplemented("tensor {}: not supported in a model of architecture {}", tensor.name,
                             architecture);
      }
    }
    return absl::OkStatus();
  }

  DType MainType() const {
    DType main = DType::kF32;
    int64_t most = -1;
    for (const auto& [type, count] : elements_) {
      if (count > most) {
        most = count;
        main = type;
      }
    }
    return main;
  }
  uint64_t packed_bytes() const { return packed_bytes_; }

 private:
  const WeightSource& source_;
  const TensorSource& tensors_;
  const OpTable& table_;
  OpContext& context_;
  std::set<std::string> known_;
  std::map<DType, int64_t> elements_;
  uint64_t packed_bytes_ = 0;
  uint64_t done_bytes_ = 0;
};

absl::Status LoadLayer(Loader& loader, const ModelConfig& config, int32_t index,
                       LayerWeights& layer) {
  const auto name = [&](std::string_view part) {
    return fmt::format("blk.{}.{}.weight", index, part);
  };
  const int64_t q_width = static_cast<int64_t>(config.heads) * config.head_dim;
  const int64_t kv_width = static_cast<int64_t>(config.kv_heads) * config.head_dim;
  WEFT_RETURN_IF_ERROR(loader.Vector(name("attn_norm"), config.hidden, layer.attention_norm));
  WEFT_RETURN_IF_ERROR(loader.Matrix(name("attn_q"), q_width, config.hidden, layer.q));
  WEFT_RETURN_IF_ERROR(loader.Matrix(name("attn_k"), kv_width, config.hidden, layer.k));
  WEFT_RETURN_IF_ERROR(loader.Matrix(name("attn_v"), kv_width, config.hidden, layer.v));
  WEFT_RETURN_IF_ERROR(
      loader.Matrix(name("attn_output"), config.hidden, q_width, layer.attention_out));
  WEFT_RETURN_IF_ERROR(loader.Vector(name("ffn_norm"), config.hidden, layer.ffn_norm));
  WEFT_RETURN_IF_ERROR(loader.Matrix(name("ffn_gate"), config.ffn, config.hidden, layer.gate));
  WEFT_RETURN_IF_ERROR(loader.Matrix(name("ffn_up"), config.ffn, config.hidden, layer.up));
  return loader.Matrix(name("ffn_down"), config.hidden, config.ffn, layer.down);
}

}  // namespace

absl::StatusOr<ModelWeights> LoadWeights(const WeightSource& source, const ModelConfig& config,
                                         const OpTable& table, OpContext& context) {
  ModelWeights weights;
  Loader loader(source, table, context);
  WEFT_ASSIGN_OR_RETURN(weights.embedding,
                        loader.Raw("token_embd.weight", config.vocab, config.hidden));
  if (source.tensors.Find("rope_freqs.weight") != nullptr) {
    WEFT_RETURN_IF_ERROR(
        loader.Vector("rope_freqs.weight", config.rope_dim / 2, weights.rope_factors));
    for (const float factor : weights.rope_factors) {
      if (!(factor > 0 && factor < 1e9f)) {
        return InvalidArgument("tensor rope_freqs.weight: expected factors above 0, found {}",
                               factor);
      }
    }
  }
  weights.layers.resize(static_cast<size_t>(config.layers));
  for (int32_t i = 0; i < config.layers; ++i) {
    WEFT_RETURN_IF_ERROR(LoadLayer(loader, config, i, weights.layers[static_cast<size_t>(i)]));
  }
  WEFT_RETURN_IF_ERROR(loader.Vector("output_norm.weight", config.hidden, weights.output_norm));
  WEFT_RETURN_IF_ERROR(loader.Matrix(config.tied_embeddings ? "token_embd.weight" : "output.weight",
                                     config.vocab, config.hidden, weights.output));
  WEFT_RETURN_IF_ERROR(loader.NothingElse(config.architecture));
  weights.main_type = loader.MainType();
  weights.packed_bytes = loader.packed_bytes();
  if (source.progress) source.progress(1.0);
  return weights;
}

}  // namespace weft
