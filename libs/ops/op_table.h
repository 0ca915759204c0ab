// The operations a transformer is made of, and the tables that supply them.
//
// An op takes a plain Args struct and the context it runs in; on the host it blocks until its
// result is there, on a device it only puts its work on a stream (op_device.h). `ref`
// (ref_table.cc) is scalar fp32 and the oracle of the others; `cpu` (cpu_table.cc) is fast; `gpu`
// (gpu_table.cc) works on an accelerator.
#pragma once

#include <absl/status/status.h>
#include <absl/status/statusor.h>

#include <cstdint>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "libs/ops/kernels.h"
#include "libs/ops/kv_page.h"
#include "libs/ops/weight.h"
#include "libs/tensor/storage.h"

namespace weft {

class ThreadTeam;
class OpDevice;

// Activations of one step, [rows, width] fp32, beside them (cpu table only) the same quantised, or
// in their place (gpu table) rounded.
struct Activations {
  float* data = nullptr;
  int64_t width = 0;
  cpu::QuantizedRows quantized;  // its stride is the step's rows; q is null when nobody needs it
  uint16_t* bf16 = nullptr;      // gpu table only, in place of data: rows rounded to bf16

  // Null where there is no data.
  float* row(int64_t r) const { return data == nullptr ? nullptr : data + r * width; }
  // The same without its first rows.
  Activations from(int64_t r) const {
    return {row(r), width, quantized.q == nullptr ? quantized : quantized.from(r),
            bf16 == nullptr ? nullptr : bf16 + r * width};
  }
};

// Pages of one layer, [blocks] of each (kv_page.h).
struct KvLayer {
  void* k = nullptr;
  void* v = nullptr;
};

struct KvShape {
  DType type = DType::kF16;  // F16, BF16, Q8_0 or (ref only) F32
  int32_t block_tokens = 0;
  int32_t kv_heads = 0;
  int32_t head_dim = 0;
  int32_t v_dim = 0;  // of a value head; often head_dim
  KvPage k_page() const { return {type, kv_heads, head_dim, block_tokens}; }
  KvPage v_page() const { return {type, kv_heads, v_dim, block_tokens}; }
};

struct OpContext {
  ThreadTeam* team = nullptr;
  PageArena arena;                          // of repacked weights
  BytesTaken taken;                         // of prepare(): raw bytes that are repacked
  const cpu::Kernels* kernels = nullptr;    // cpu table only
  std::vector<std::vector<float>> scratch;  // one per rank, sized by the ops when they need it
  OpDevice* device = nullptr;               // gpu table only (op_device.h)
};

// out[r] = scale * row tokens[r] of `table` + row positions[r] of `position_table` (unless null).
// Both are in their source's format.
struct EmbedArgs {
  const Weight* table = nullptr;
  std::span<const int32_t> tokens;
  float scale = 1;
  const Weight* position_table = nullptr;
  std::span<const int32_t> positions;
  float* out = nullptr;  // [rows, table.cols]
};

// Weights of a norm over [width]; the bias is null for NormKind::kRms.
struct NormWeights {
  const float* weight = nullptr;
  const float* bias = nullptr;
};

// x += delta_scale * delta (unless null), then out = norm(x); with `source`, out.row(i) is made of
// the rows source[i] of x and delta, of which there is any number, and has `rows` of them. With
// `delta_norm` (unless its weight is null) delta is normalised first; what it holds afterwards is
// not defined. Quantises too where `out` has room, and may leave out.data null then.
struct AddNormArgs {
  float* x = nullptr;      // [rows, out.width]
  float* delta = nullptr;  // [rows, out.width]
  NormWeights delta_norm = {};
  float delta_scale = 1;
  NormKind kind = NormKind::kRms;
  NormWeights norm;
  float eps = 0;
  int64_t rows = 0;
  std::span<const int32_t> source = {};  // [rows], each a different one; empty: row i of i
  Activations out;

  int64_t from(int64_t row) const {
    return source.empty() ? row : source[static_cast<size_t>(row)];
  }
};

// out = rms_norm of the leading out.width elements of each row. Quantises too where `out` has room.
struct RmsNormArgs {
  const float* x = nullptr;  // row r at x + r * stride
  int64_t stride = 0;
  const float* weight = nullptr;
  float eps = 0;
  int64_t rows = 0;
  Activations out;
};

// Several products of the same input: outputs[i] = input * weights[i]^T + bias, [rows,
// weight.rows].
struct LinearArgs {
  struct Output {
    const Weight* weight = nullptr;
    float* out = nullptr;
    const float* bias = nullptr;  // [weight.rows] or null
  };
  Activations input;
  int64_t rows = 0;
  std::span<const Output> outputs;
};

// Queries and keys, normalised (unless the weights are null) and rotated; K and V to their slots.
struct RopeAndCacheArgs {
  float* q = nullptr;  // [rows, heads * head_dim], in place
  // Head h of row r: k + r * k_row_stride + h * k_head_stride. Strides of 0 mean that heads and
  // rows follow one another. Likewise v.
  const float* k = nullptr;
  const float* v = nullptr;
  int64_t k_row_stride = 0, k_head_stride = 0;
  int64_t v_row_stride = 0, v_head_stride = 0;
  // Null, or the rotating elements of a row's keys, the same for all heads: k_shared + r *
  // k_shared_stride. k then holds the elements before them.
  const float* k_shared = nullptr;
  int64_t k_shared_stride = 0;
  const float* q_norm = nullptr;  // [head_dim] weights of an RMS norm of every head
  const float* k_norm = nullptr;
  float norm_eps = 0;
  const float* cos_sin = nullptr;  // [rows, rope_dim]: cosines, then sines
  int64_t rows = 0;
  int32_t heads = 0;
  int32_t rope_first = 0;  // elements [rope_first, rope_first + rope_dim) of a head rotate
  int32_t rope_dim = 0;    // 0: nothing rotates
  bool neighbours = true;
  std::span<const int32_t> slots;
  KvLayer cache;
  KvShape shape;

  const float* k_head(int64_t row, int64_t head) const {
    const int64_t apart = k_head_stride > 0 ? k_head_stride : shape.head_dim;
    return k + row * (k_row_stride > 0 ? k_row_stride : shape.kv_heads * apart) + head * apart;
  }
  const float* v_head(int64_t row, int64_t head) const {
    const int64_t apart = v_head_stride > 0 ? v_head_stride : shape.v_dim;
    return v + row * (v_row_stride > 0 ? v_row_stride : shape.kv_heads * apart) + head * apart;
  }
};

struct AttentionSequence {
  int32_t first_row = 0;
  int32_t rows = 0;
  int32_t first_position = 0;
  const int32_t* block_table = nullptr;
};

// Causal attention of every row over its sequence's pages. Quantises too where `out` has room, and
// may leave out.data null then, if QuantisesInTasks.
struct PagedAttentionArgs {
  const float* q = nullptr;  // [rows, heads * head_dim]
  int64_t rows = 0;
  int32_t heads = 0;
  float scale = 0;
  float softcap = 0;   // scores become softcap * tanh(score / softcap); 0: they do not
  int32_t window = 0;  // a row sees this many tokens, itself included; 0: all
  std::span<const AttentionSequence> sequences;
  KvLayer cache;
  KvShape shape;
  Activations out;  // width heads * v_dim
};
// Whether a KV head's share of a row of outputs is whole blocks.
constexpr bool QuantisesInTasks(int64_t columns) { return columns % cpu::kQBlock == 0; }

// Attention over latents that all heads share, expansion included; writes the rows' latents to the
// cache (latent_gpu.h). Only the gpu table has it: the others expand keys and values and use
// rope_and_cache and paged_attention.
struct LatentAttentionArgs {
  const float* q = nullptr;       // [rows, heads * (nope_dim + rope_dim)]
  Activations latent;             // [rows, kv_lora], normed
  const float* k_rope = nullptr;  // the rotating elements of row r's keys: k_rope + r * its stride
  int64_t k_rope_stride = 0;
  const Weight* kv_b = nullptr;  // BF16 [heads * (nope_dim + v_dim), kv_lora]
  const float* cos_sin = nullptr;
  int64_t rows = 0;
  int32_t heads = 0;
  int32_t nope_dim = 0;
  int32_t rope_dim = 0;
  int32_t v_dim = 0;
  bool neighbours = true;
  float scale = 0;
  std::span<const int32_t> slots;
  KvLayer cache;  // k holds [block_tokens, kv_lora + rope_dim]
  KvShape shape;
  float* latent_q = nullptr;       // room for [rows, heads * (kv_lora + rope_dim)]
  uint16_t* latent_out = nullptr;  // room for [rows, heads * kv_lora]
  Activations out;                 // width heads * v_dim
};

// out = activation(gate) * up, or activation(up) when gate is null; out may be either of them.
// Quantises too where `out` has room.
struct ActivateArgs {
  Activation kind = Activation::kSilu;
  const float* gate = nullptr;  // [rows, out.width]
  const float* up = nullptr;
  int64_t rows = 0;
  Activations out;
};

// The inner half of a feed-forward network: out = activation(gate(input)) * up(input), or
// activation(up(input)) when gate has no weight. Their `out` is room for [rows, out.width] each on
// the gpu table and not used by the others. Quantises where `out` has room, and may leave out.data
// null then.
struct GatedLinearArgs {
  Activations input;
  int64_t rows = 0;
  LinearArgs::Output gate;
  LinearArgs::Output up;
  Activation kind = Activation::kSilu;
  Activations out;  // width up.weight->rows
};

// x = softcap(scale * x): softcap * tanh(x / softcap), or nothing when it is 0.
struct ScaleAndCapArgs {
  float* x = nullptr;  // [rows, width]
  int64_t rows = 0;
  int64_t width = 0;
  float scale = 1;
  float softcap = 0;
};

// Chooses experts for every row: probabilities of all (softmax, or each expert's own sigmoid), the
// `used` largest of the groups_used best groups, in descending order, equal ones by number. A
// choice of a row is called its slot; the chosen probabilities become the slots' weights.
struct RouteArgs {
  float* logits = nullptr;  // [rows, experts]; become the probabilities
  int64_t rows = 0;
  int32_t experts = 0;
  int32_t used = 0;
  ExpertScoring scoring = ExpertScoring::kSoftmax;
  int32_t groups = 1;  // equal ones; a group counts as much as its best expert
  int32_t groups_used = 1;
  bool normalise = false;     // weights are divided by their sum
  float scale = 1;            // and multiplied by this
  int32_t* chosen = nullptr;  // [rows, used]
  float* weights = nullptr;   // [rows, used]
};

// Sorts the slots by expert, rows in order: place[slot] is where a slot is computed, row_at[place]
// its row, and expert e has the places [first[e], first[e + 1]).
struct PermuteArgs {
  const int32_t* chosen = nullptr;  // [rows, used]
  int64_t rows = 0;
  int32_t used = 0;
  int32_t experts = 0;
  int32_t* place = nullptr;   // [rows, used]
  int32_t* row_at = nullptr;  // [rows * used]
  int32_t* first = nullptr;   // [experts + 1]
  void* tiles = nullptr;      // gpu table only: OpDevice::ExpertTileBytes
};

// out.row(i) = in.row(rows[i]), quantised form included.
struct GatherArgs {
  Activations in;
  std::span<const int32_t> rows;
  Activations out;
};

// Rows sorted by expert: rows [first[e], first[e + 1]) times weights of expert e, for each output.
struct ExpertLinearArgs {
  struct Output {
    std::span<const Weight> experts;  // of one shape
    float* out = nullptr;             // [rows, weight.rows]
  };
  Activations input;
  std::span<const int32_t> first;  // [experts + 1]
  std::span<const Output> outputs;
  int64_t places = 0;           // first's last, which the gpu table cannot read
  const void* tiles = nullptr;  // PermuteArgs::tiles
};

// out[r] = base[r] (0 when null) + sum over k of weights[r][k] * x[place[r][k]], k ascending: one
// order whatever rows were computed together.
struct CombineArgs {
  const float* x = nullptr;  // [rows * used, width]
  const int32_t* place = nullptr;
  const float* weights = nullptr;
  const float* base = nullptr;
  int64_t rows = 0;
  int32_t used = 0;
  int64_t width = 0;
  float* out = nullptr;  // may be base
};

struct OpTable {
  std::string_view name;
  // True when activations are quantised for weights of this kind.
  bool (*quantizes)(const Weight& weight);
  // Brings a weight into the form that linear() takes. `raw` must outlive the result, unless the
  // result owns its bytes.
  absl::StatusOr<Weight> (*prepare)(const Weight& raw, std::string_view name, OpContext& context);
  void (*embed)(const EmbedArgs& args, OpContext& context);
  void (*add_norm)(const AddNormArgs& args, OpContext& context);
  void (*rms_norm)(const RmsNormArgs& args, OpContext& context);
  void (*linear)(const LinearArgs& args, OpContext& context);
  void (*rope_and_cache)(const RopeAndCacheArgs& args, OpContext& context);
  void (*paged_attention)(const PagedAttentionArgs& args, OpContext& context);
  void (*latent_attention)(const LatentAttentionArgs& args, OpContext& context);
  void (*activate)(const ActivateArgs& args, OpContext& context);
  void (*gated_linear)(const GatedLinearArgs& args, OpContext& context);
  void (*scale_and_cap)(const ScaleAndCapArgs& args, OpContext& context);
  void (*route)(const RouteArgs& args, OpContext& context);
  void (*permute)(const PermuteArgs& args, OpContext& context);
  void (*gather)(const GatherArgs& args, OpContext& context);
  void (*expert_linear)(const ExpertLinearArgs& args, OpContext& context);
  void (*combine)(const CombineArgs& args, OpContext& context);
};

const OpTable& RefOps();
const OpTable& CpuOps();

}  // namespace weft
