#include "libs/model/tensor_loader.h"

#include <algorithm>
#include <memory>

#include "libs/base/status.h"
#include "libs/model/repack_cache.h"
#include "libs/ops/op_device.h"

namespace weft {
namespace {

std::string Shape(const std::vector<int64_t>& dims) {
  return fmt::format("[{}]", fmt::join(dims, ", "));
}

// The numbers of ranks that would each get whole blocks.
std::vector<int64_t> WholeBlockParts(int64_t cols, int64_t block) {
  std::vector<int64_t> parts;
  for (int64_t n = 1; n <= kMaxParallel; ++n) {
    if (cols % (n * block) == 0) parts.push_back(n);
  }
  return parts;
}

}  // namespace

absl::StatusOr<const Tensor*> TensorLoader::Find(const std::string& name,
                                                 const std::vector<int64_t>& dims) {
  const Tensor* tensor = tensors_.Find(name);
  if (tensor == nullptr) {
    return InvalidArgument("tensor {}: missing; expected shape {}", name, Shape(dims));
  }
  if (tensor->dims != dims) {
    return InvalidArgument("tensor {}: expected shape {}, found {}", name, Shape(dims),
                           Shape(tensor->dims));
  }
  if (!IsSupported(tensor->type)) {
    return Unimplemented("tensor {}: type {} is not supported (only {})", name, Name(tensor->type),
                         SupportedTypeNames());
  }
  int64_t elements = 1;
  for (const int64_t dim : dims) {
    if (__builtin_mul_overflow(elements, dim, &elements)) {
      return InvalidArgument("tensor {}: shape {} is out of range", name, Shape(dims));
    }
  }
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

absl::Status TensorLoader::Vector(const std::string& name, int64_t length,
                                  std::vector<float>& out) {
  WEFT_ASSIGN_OR_RETURN(const Tensor* tensor, Find(name, {length}));
  out.resize(static_cast<size_t>(length));
  WEFT_CHECK(Dequantize(tensor->type, tensor->data, length, out.data()));
  return Keep(name, out);
}

absl::Status TensorLoader::Keep(const std::string& name, const std::vector<float>& values) {
  if (context_.device == nullptr) return absl::OkStatus();
  return context_.device->Keep(values, name);
}

absl::Status TensorLoader::Vector(const std::string& name, const RowRange& range,
                                  std::vector<float>& out) {
  WEFT_ASSIGN_OR_RETURN(const Tensor* tensor, Find(name, {range.total}));
  std::vector<float> all(static_cast<size_t>(range.total));
  WEFT_CHECK(Dequantize(tensor->type, tensor->data, range.total, all.data()));
  out.assign(all.begin() + range.first, all.begin() + range.first + range.rows);
  return Keep(name, out);
}

absl::Status TensorLoader::Table(const std::string& name, int64_t rows, int64_t cols, Weight& out) {
  WEFT_ASSIGN_OR_RETURN(out, Raw(name, rows, cols));
  if (context_.device == nullptr) return absl::OkStatus();
  WEFT_ASSIGN_OR_RETURN(out, context_.device->KeepTable(out, name));
  return absl::OkStatus();
}

absl::StatusOr<Weight> TensorLoader::Raw(const std::string& name, int64_t rows, int64_t cols) {
  WEFT_ASSIGN_OR_RETURN(const Tensor* tensor, Find(name, {cols, rows}));
  Weight raw;
  raw.type = tensor->type;
  raw.rows = rows;
  raw.cols = cols;
  raw.raw = tensor->data;
  raw.scales = tensor->scales;
  return raw;
}

absl::Status TensorLoader::Matrix(const std::string& name, int64_t rows, int64_t cols,
                                  Weight& out) {
  return Matrix(name, RowRange{0, rows, rows}, cols, out);
}

absl::Status TensorLoader::Matrix(const std::string& name, const RowRange& range, int64_t cols,
                                  Weight& out) {
  return Matrix(name, range, Slice{0, cols, cols}, out);
}

absl::Status TensorLoader::Matrix(const std::string& name, const RowRange& range, const Slice& cols,
                                  Weight& out) {
  WEFT_ASSIGN_OR_RETURN(const Weight whole, Raw(name, range.total, cols.total));
  WEFT_ASSIGN_OR_RETURN(const Weight part, Cut(whole, name, range, cols));
  return Prepare(part, name, out);
}

absl::StatusOr<Weight> TensorLoader::Cut(const Weight& whole, const std::string& name,
                                         const RowRange& rows, const Slice& cols) const {
  Weight part = whole;
  part.rows = rows.rows;
  part.raw += *BytesFor(whole.type, rows.first * whole.cols);
  part.scales.first_row += rows.first;
  if (cols.whole()) return part;
  if (part.scales.values != nullptr) {
    return Unimplemented("tensor {}: some columns of F8_E4M3 with scales", name);
  }
  const int64_t block = BlockSize(whole.type);
  if (cols.first % block != 0 || cols.count % block != 0) {
    return InvalidArgument(
        "tensor {}: {} columns in {} parts of {} are no whole blocks of {} ({} elements); "
        "tensor_parallel may be {}",
        name, cols.total, cols.total / cols.count, cols.count, Name(whole.type), block,
        fmt::join(WholeBlockParts(cols.total, block), ", "));
  }
  const uint64_t from = *BytesFor(whole.type, whole.cols);
  const uint64_t to = *BytesFor(whole.type, cols.count);
  auto memory = std::make_shared<std::vector<uint8_t>>(to * static_cast<uint64_t>(rows.rows));
  const uint8_t* source = part.raw + *BytesFor(whole.type, cols.first);
  for (int64_t row = 0; row < rows.rows; ++row) {
    std::copy_n(source + static_cast<uint64_t>(row) * from, to,
                memory->data() + static_cast<uint64_t>(row) * to);
  }
  tensors_.Release(part.raw, from * static_cast<uint64_t>(rows.rows));
  part.cols = cols.count;
  part.raw = memory->data();
  part.owner = std::shared_ptr<const uint8_t>(memory, part.raw);
  return part;
}

absl::Status TensorLoader::Stack(const std::string& name, int64_t count, const RowRange& rows,
                                 const Slice& cols, std::vector<Weight>& out) {
  WEFT_ASSIGN_OR_RETURN(const Tensor* tensor, Find(name, {cols.total, rows.total, count}));
  const uint64_t bytes = *BytesFor(tensor->type, rows.total * cols.total);
  out.resize(static_cast<size_t>(count));
  for (size_t i = 0; i < out.size(); ++i) {
    Weight whole;
    whole.type = tensor->type;
    whole.rows = rows.total;
    whole.cols = cols.total;
    whole.raw = tensor->data + i * bytes;
    WEFT_ASSIGN_OR_RETURN(const Weight part, Cut(whole, name, rows, cols));
    WEFT_RETURN_IF_ERROR(Prepare(part, name, out[i]));
  }
  return absl::OkStatus();
}

absl::Status TensorLoader::SplitKvB(const std::string& k, const std::string& v,
                                    const ModelConfig& config, const Slice& heads, Weight& out) {
  const MlaConfig& mla = config.mla;
  const int64_t lora = mla.kv_lora;
  WEFT_ASSIGN_OR_RETURN(const Tensor* keys, Find(k, {mla.nope_dim, lora, heads.total}));
  WEFT_ASSIGN_OR_RETURN(const Tensor* values, Find(v, {lora, mla.v_dim, heads.total}));
  const int64_t rows = heads.count * (mla.nope_dim + mla.v_dim);
  auto memory = std::make_shared<std::vector<float>>(static_cast<size_t>(rows * lora));
  std::vector<float> key(static_cast<size_t>(lora * mla.nope_dim));
  float* to = memory->data();
  for (int64_t h = heads.first; h < heads.first + heads.count; ++h) {
    const auto k_elements = static_cast<int64_t>(key.size());
    const uint8_t* source = keys->data + *BytesFor(keys->type, h * k_elements);
    WEFT_CHECK(Dequantize(keys->type, source, k_elements, key.data()));
    for (int64_t row = 0; row < mla.nope_dim; ++row) {
      for (int64_t i = 0; i < lora; ++i) *to++ = key[static_cast<size_t>(i * mla.nope_dim + row)];
    }
    const int64_t v_elements = lora * mla.v_dim;
    source = values->data + *BytesFor(values->type, h * v_elements);
    WEFT_CHECK(Dequantize(values->type, source, v_elements, to));
    to += v_elements;
  }
  Weight raw;
  raw.rows = rows;
  raw.cols = lora;
  raw.raw = reinterpret_cast<const uint8_t*>(memory->data());
  raw.owner = std::shared_ptr<const uint8_t>(memory, raw.raw);
  return Prepare(raw, k, out, Form::kBf16OnDevice);
}

absl::Status TensorLoader::KvB(const std::string& name, const RowRange& range, int64_t cols,
                               Weight& out) {
  WEFT_ASSIGN_OR_RETURN(const Weight whole, Raw(name, range.total, cols));
  WEFT_ASSIGN_OR_RETURN(const Weight part, Cut(whole, name, range, Slice{0, cols, cols}));
  return Prepare(part, name, out, Form::kBf16OnDevice);
}

absl::Status TensorLoader::Prepare(const Weight& raw, const std::string& name, Weight& out,
                                   Form form) {
  RepackCache* repacked = source_.repacked;
  if (repacked == nullptr || !repacked->Take(name, raw, out)) {
    // Of a large matrix, the mapped pages would lie beside their repacked form until its end.
    if (raw.owner == nullptr) {
      context_.taken = [this](const uint8_t* data, uint64_t bytes) {
        tensors_.Release(data, bytes);
      };
    }
    absl::StatusOr<Weight> prepared = form == Form::kBf16OnDevice && context_.device != nullptr
                                          ? context_.device->KeepBf16(raw, name)
                                          : table_.prepare(raw, name, context_);
    context_.taken = nullptr;
    WEFT_ASSIGN_OR_RETURN(out, std::move(prepared));
  }
  if (repacked != nullptr) repacked->Record(name, out);
  const uint64_t bytes = *BytesFor(raw.type, raw.rows * raw.cols);
  elements_[raw.type] += raw.rows * raw.cols;
  if (out.packed != nullptr) {
    packed_bytes_ += out.packed_bytes;
    if (raw.owner == nullptr) tensors_.Release(raw.raw, bytes);
  }
  done_bytes_ += bytes;
  if (source_.progress) {
    const uint64_t all = std::max<uint64_t>(1, tensors_.bytes());
    source_.progress({.bytes = std::min(done_bytes_, all), .all = all});
  }
  return absl::OkStatus();
}

void TensorLoader::IgnoreAll(std::string_view prefix) {
  for (const Tensor& tensor : tensors_.tensors()) {
    if (tensor.name.starts_with(prefix)) known_.insert(tensor.name);
  }
}

absl::Status TensorLoader::NothingElse(std::string_view architecture) const {
  for (const Tensor& tensor : tensors_.tensors()) {
    if (known_.count(tensor.name) == 0) {
      return Unimplemented("tensor {}: not supported in a model of architecture {}", tensor.name,
                           architecture);
    }
  }
  return absl::OkStatus();
}

DType TensorLoader::MainType() const {
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

}  // namespace weft
