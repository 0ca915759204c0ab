// Takes tensors from a source: each is checked for presence, shape, type and bytes, and remembered,
// so that one that nobody asked for can be refused.
#pragma once

#include <absl/status/status.h>
#include <absl/status/statusor.h>

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "libs/model/shard.h"
#include "libs/model/tensor_source.h"
#include "libs/model/weights.h"
#include "libs/ops/op_table.h"

namespace weft {

// Rows of a matrix; rows of several can be one tensor, which `total` says.
struct RowRange {
  int64_t first = 0;
  int64_t rows = 0;
  int64_t total = 0;
};

// One thread at a time. Errors name the tensor, what was expected and what was found.
//
// Some of a matrix's columns must be whole blocks of its format, and are copied; rows are not.
class TensorLoader {
 public:
  TensorLoader(const WeightSource& source, const OpTable& table, OpContext& context)
      : source_(source), tensors_(source.tensors), table_(table), context_(context) {}

  bool Has(std::string_view name) const { return tensors_.Find(name) != nullptr; }

  // A tensor that need not be read, because others say the same.
  void Ignore(std::string name) { known_.insert(std::move(name)); }

  // GGUF order: dims[0] is the contiguous one, so a matrix is {cols, rows}.
  absl::StatusOr<const Tensor*> Find(const std::string& name, const std::vector<int64_t>& dims);

  // A vector as fp32, or part of one.
  absl::Status Vector(const std::string& name, int64_t length, std::vector<float>& out);
  absl::Status Vector(const std::string& name, const RowRange& range, std::vector<float>& out);

  // A matrix in its source's format.
  absl::StatusOr<Weight> Raw(const std::string& name, int64_t rows, int64_t cols);

  // The same, where the op table's embed() finds it.
  absl::Status Table(const std::string& name, int64_t rows, int64_t cols, Weight& out);

  // A matrix, or some of its rows, prepared by the op table.
  absl::Status Matrix(const std::string& name, int64_t rows, int64_t cols, Weight& out);
  absl::Status Matrix(const std::string& name, const RowRange& range, int64_t cols, Weight& out);
  absl::Status Matrix(const std::string& name, const RowRange& range, const Slice& cols,
                      Weight& out);

  // The matrices of a stack [count][rows, cols] (dims {cols, rows, count}), each prepared.
  absl::Status Stack(const std::string& name, int64_t count, const RowRange& rows,
                     const Slice& cols, std::vector<Weight>& out);

  // Latent attention's expansion [heads * (nope_dim + v_dim), kv_lora] out of the two tensors that
  // newer GGUF files have in its place: `k` [heads][kv_lora, nope_dim], transposed, and `v`
  // [heads][v_dim, kv_lora]. As fp32, because a transposed block format would have to be rounded.
  // Only some of the heads.
  absl::Status SplitKvB(const std::string& k, const std::string& v, const ModelConfig& config,
                        const Slice& heads, Weight& out);

  // The same out of one tensor. Either is bf16 on a device, which has it in its queries and
  // outputs.
  absl::Status KvB(const std::string& name, const RowRange& range, int64_t cols, Weight& out);

  // All tensors whose names begin so need not be read: another rank does.
  void IgnoreAll(std::string_view prefix);

  // kUnimplemented when the source has a tensor that nobody asked for: the model would be computed
  // without it.
  absl::Status NothingElse(std::string_view architecture) const;

  DType MainType() const;  // that most elements of the matrices have
  uint64_t packed_bytes() const { return packed_bytes_; }

 private:
  enum class Form { kOfTable, kBf16OnDevice };
  absl::Status Prepare(const Weight& raw, const std::string& name, Weight& out,
                       Form form = Form::kOfTable);
  // On a device, a copy there of a vector that stays where it is.
  absl::Status Keep(const std::string& name, const std::vector<float>& values);
  // Some rows and columns of a matrix.
  absl::StatusOr<Weight> Cut(const Weight& whole, const std::string& name, const RowRange& rows,
                             const Slice& cols) const;

  const WeightSource& source_;
  const TensorSource& tensors_;
  const OpTable& table_;
  OpContext& context_;
  std::set<std::string, std::less<>> known_;
  std::map<DType, int64_t> elements_;
  uint64_t packed_bytes_ = 0;
  uint64_t done_bytes_ = 0;
};

}  // namespace weft
