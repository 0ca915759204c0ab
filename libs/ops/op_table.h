// The operations a transformer is made of, and the tables that supply them.
//
// An op takes a plain Args struct and the context it runs in; it blocks until its result is there.
// `ref` (ref_table.cc) is scalar fp32 and the oracle of the others; `cpu` (cpu_table.cc) is fast.
#pragma once

#include <absl/status/status.h>
#include <absl/status/statusor.h>

#include <cstdint>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "libs/ops/kernels.h"
#include "libs/ops/weight.h"
#include "libs/tensor/storage.h"

namespace weft {

class ThreadTeam;

// Activations of one step, [rows, width] fp32, beside them (cpu table only) the same quantised.
struct Activations {
  float* data = nullptr;
  int64_t width = 0;
  cpu::QuantizedRows quantized;  // its stride is the step's rows; q is null when nobody needs it

  float* row(int64_t r) const { return data + r * width; }
};

// Pages of one layer. K: [blocks, kv_heads, head_dim, block_tokens], so that scores have tokens in
// their lanes; V: [blocks, kv_heads, block_tokens, head_dim].
struct KvLayer {
  void* k = nullptr;
  void* v = nullptr;
};

struct KvShape {
  DType type = DType::kF16;  // F16 or (ref only) F32
  int32_t block_tokens = 0;
  int32_t kv_heads = 0;
  int32_t head_dim = 0;
  int64_t page_elements() const { return static_cast<int64_t>(kv_heads) * head_dim * block_tokens; }
};

struct OpContext {
  ThreadTeam* team = nullptr;
  PageArena arena;                          // of repacked weights
  const cpu::Kernels* kernels = nullptr;    // cpu table only
  std::vector<std::vector<float>> scratch;  // one per rank, sized by the ops when they need it
};

// out[r] = row tokens[r] of `table`, which is in its file's format.
struct EmbedArgs {
  const Weight* table = nullptr;
  std::span<const int32_t> tokens;
  float* out = nullptr;
};

// x += delta (unless null), then out = rms_norm(x) * weight. Quantises too where `out` has room.
struct AddRmsNormArgs {
  float* x = nullptr;
  const float* delta = nullptr;
  const float* weight = nullptr;
  float eps = 0;
  int64_t rows = 0;
  Activations out;
};

// Several products of the same input: outputs[i] = input * weights[i]^T, [rows, weight.rows].
struct LinearArgs {
  struct Output {
    const Weight* weight = nullptr;
    float* out = nullptr;
  };
  Activations input;
  int64_t rows = 0;
  std::span<const Output> outputs;
};

struct RopeAndCacheArgs {
  float* q = nullptr;  // [rows, heads * head_dim], rotated in place
  const float* k = nullptr;
  const float* v = nullptr;
  const float* cos_sin = nullptr;  // [rows, rope_dim]: cosines, then sines
  int64_t rows = 0;
  int32_t heads = 0;
  int32_t rope_dim = 0;
  bool neighbours = true;
  std::span<const int32_t> slots;
  KvLayer cache;
  KvShape shape;
};

struct AttentionSequence {
  int32_t first_row = 0;
  int32_t rows = 0;
  int32_t first_position = 0;
  const int32_t* block_table = nullptr;
};

// Causal attention of every row over its sequence's pages. Quantises too where `out` has room.
struct PagedAttentionArgs {
  const float* q = nullptr;  // [rows, heads * head_dim]
  int64_t rows = 0;
  int32_t heads = 0;
  float scale = 0;
  std::span<const AttentionSequence> sequences;
  KvLayer cache;
  KvShape shape;
  Activations out;  // width heads * head_dim
};

// out = silu(gate) * up. Quantises too where `out` has room.
struct SwiGluArgs {
  const float* gate = nullptr;
  const float* up = nullptr;
  int64_t rows = 0;
  Activations out;
};

struct OpTable {
  std::string_view name;
  // True when activations are quantised for weights of this kind.
  bool (*quantizes)(const Weight& weight);
  // Brings a weight into the form that linear() takes. `raw` must outlive the result, unless the
  // result owns its bytes.
  absl::StatusOr<Weight> (*prepare)(const Weight& raw, std::string_view name, OpContext& context);
  void (*embed)(const EmbedArgs& args, OpContext& context);
  void (*add_rms_norm)(const AddRmsNormArgs& args, OpContext& context);
  void (*linear)(const LinearArgs& args, OpContext& context);
  void (*rope_and_cache)(const RopeAndCacheArgs& args, OpContext& context);
  void (*paged_attention)(const PagedAttentionArgs& args, OpContext& context);
  void (*swiglu)(const SwiGluArgs& args, OpContext& context);
};

const OpTable& RefOps();
const OpTable& CpuOps();

}  // namespace weft
