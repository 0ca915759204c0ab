#include "libs/ops/gpu_table.h"

#include <algorithm>

#include "libs/base/status.h"
#include "libs/ops/activate_gpu.h"
#include "libs/ops/embed_gpu.h"
#include "libs/ops/expert_gpu.h"
#include "libs/ops/gpu_context.h"
#include "libs/ops/latent_gpu.h"
#include "libs/ops/matmul_fp8_wgmma_gpu.h"
#include "libs/ops/matmul_gpu.h"
#include "libs/ops/matmul_tiled_gpu.h"
#include "libs/ops/matmul_wgmma_gpu.h"
#include "libs/ops/norm_gpu.h"
#include "libs/ops/prefill_gpu.h"
#include "libs/ops/prefill_wgmma_gpu.h"
#include "libs/ops/rope_cache_gpu.h"

namespace weft {
namespace {

GpuContext& Gpu(OpContext& context) { return static_cast<GpuContext&>(*context.device); }

bool Quantizes(const Weight&) { return false; }

absl::StatusOr<Weight> Prepare(const Weight& raw, std::string_view name, OpContext& context) {
  if (raw.cols % 32 != 0) {
    return Unimplemented("tensor {}: {} columns on {}: expected a multiple of 32", name, raw.cols,
                         context.device->device().info().name);
  }
  const auto supported = [](DType type) {
    return gpu::CanMultiply(type) || type == DType::kF8E4M3;
  };
  return Gpu(context).KeepMatrix(raw, supported, name);
}

void Embed(const EmbedArgs& args, OpContext& context) {
  const auto table = [](const Weight* weight) -> gpu::EmbedTable {
    if (weight == nullptr) return {};
    return {weight->raw, static_cast<int64_t>(*BytesFor(weight->type, weight->cols)), weight->type};
  };
  GpuContext& gpu = Gpu(context);
  gpu.Note(gpu::Embed({.table = table(args.table),
                       .position_table = table(args.position_table),
                       .tokens = gpu.Copy(args.tokens.data()),
                       .positions = gpu.Copy(args.positions.data()),
                       .out = args.out,
                       .scale = args.scale,
                       .rows = static_cast<int32_t>(args.tokens.size()),
                       .width = static_cast<int32_t>(args.table->cols)},
                      gpu.stream()));
}

// Few rows are bound by reading the weights, many by multiplying.
constexpr int64_t kSkinnyRows = 16;

// The FP8 form of what an op makes in `out`, where a product of so many rows may take it.
gpu::Fp8Out Fp8Form(GpuContext& gpu, const Activations& out, int64_t rows) {
  return rows <= kSkinnyRows ? gpu::Fp8Out() : gpu.TakeFp8(out.bf16, rows, out.width);
}

void AddNorm(const AddNormArgs& args, OpContext& context) {
  GpuContext& gpu = Gpu(context);
  gpu.Note(gpu::AddNorm({.x = args.x,
                         .delta = args.delta,
                         .delta_weight = gpu.Copy(args.delta_norm.weight),
                         .delta_bias = gpu.Copy(args.delta_norm.bias),
                         .weight = gpu.Copy(args.norm.weight),
                         .bias = gpu.Copy(args.norm.bias),
                         .source = args.source.empty() ? nullptr : gpu.Copy(args.source.data()),
                         .out_bf16 = args.out.bf16,
                         .fp8 = Fp8Form(gpu, args.out, args.rows),
                         .delta_scale = args.delta_scale,
                         .eps = args.eps,
                         .rows = static_cast<int32_t>(args.rows),
                         .width = static_cast<int32_t>(args.out.width),
                         .layer = args.kind == NormKind::kLayer ? 1 : 0},
                        gpu.stream()));
}

gpu::SkinnyParams ProductOf(const Weight& weight, const Activations& input, int64_t rows,
                            const float* bias, float* out) {
  return {.weights = weight.raw,
          .x = input.bf16,
          .bias = bias,
          .out = out,
          .outputs = weight.rows,
          .cols = weight.cols,
          .row_bytes = static_cast<int64_t>(*BytesFor(weight.type, weight.cols)),
          .rows = static_cast<int32_t>(rows)};
}

// The scales follow the codes (Weight::scales).
gpu::SkinnyFp8Params Fp8ProductOf(const Weight& weight, const gpu::SkinnyParams& p) {
  const auto* scales = reinterpret_cast<const float*>(weight.raw + weight.rows * weight.cols);
  const bool blocks = weight.scales.values != nullptr && weight.scales.block_cols != weight.cols;
  return {.weights = p.weights,
          .channel = blocks ? nullptr : scales,
          .block = blocks ? scales : nullptr,
          .x = p.x,
          .bias = p.bias,
          .out = p.out,
          .outputs = p.outputs,
          .cols = p.cols,
          .rows = p.rows,
          .experts = p.experts};
}

// Products of many rows by what is fastest, whatever that does to the bits; false: the kernels of
// Numerics::kExact are to do it.
bool MultiplyFast(const Weight& weight, const gpu::SkinnyParams& params, GpuContext& gpu) {
  if (gpu.numerics() != gpu::Numerics::kFast || gpu.device().info().major != 9) return false;
  if (params.experts.tiles != nullptr) return false;
  const gpu::ProductShape shape{weight.type, params.outputs, params.cols, params.rows};
  if (weight.type == DType::kF8E4M3) {
    const std::optional<gpu::Fp8Out> x = gpu.Fp8Of(params.x, params.rows);
    const gpu::SkinnyFp8Params fp8 = Fp8ProductOf(weight, params);
    if (!x.has_value() || !gpu::CanMultiplyFp8ByWgmma(fp8)) return false;
    if (x->per_row != 0 && gpu.MultiplyByLibrary(shape, {.weights = params.weights,
                                                         .x = x->codes,
                                                         .channel = fp8.channel,
                                                         .x_scales = x->scales,
                                                         .bias = params.bias,
                                                         .out = params.out})) {
      return true;
    }
    gpu.Note(gpu::WgmmaFp8({fp8, *x}, gpu.stream()));
    return true;
  }
  if (!gpu::CanMultiplyByWgmma(weight.type, params)) return false;
  if (!gpu.MultiplyByLibrary(
          shape,
          {.weights = params.weights, .x = params.x, .bias = params.bias, .out = params.out})) {
    gpu.Note(gpu::WgmmaMatmul(params, gpu.stream()));
  }
  return true;
}

void Multiply(const Weight& weight, const gpu::SkinnyParams& params, GpuContext& gpu) {
  const int64_t together = params.experts.tiles == nullptr ? params.rows : params.experts.tile_rows;
  const bool skinny = together <= kSkinnyRows || !gpu.stages_large_tiles();
  if (!skinny && MultiplyFast(weight, params, gpu)) return;
  if (weight.type == DType::kF8E4M3) {
    const gpu::SkinnyFp8Params fp8 = Fp8ProductOf(weight, params);
    gpu.Note(skinny ? gpu::SkinnyFp8(fp8, gpu.stream()) : gpu::TiledFp8(fp8, gpu.stream()));
    return;
  }
  gpu.Note(skinny ? gpu::SkinnyMatmul(weight.type, params, gpu.stream())
                  : gpu::TiledMatmul(weight.type, gpu.numerics(), params, gpu.stream()));
}

void Linear(const LinearArgs& args, OpContext& context) {
  GpuContext& gpu = Gpu(context);
  for (const LinearArgs::Output& output : args.outputs) {
    Multiply(*output.weight,
             ProductOf(*output.weight, args.input, args.rows, gpu.Copy(output.bias), output.out),
             gpu);
  }
}

void RopeAndCache(const RopeAndCacheArgs& args, OpContext& context) {
  GpuContext& gpu = Gpu(context);
  gpu.Note(gpu::RopeCache({.q = args.q,
                           .k = args.k,
                           .v = args.v,
                           .q_norm = gpu.Copy(args.q_norm),
                           .k_norm = gpu.Copy(args.k_norm),
                           .cos_sin = args.rope_dim == 0 ? nullptr : gpu.Copy(args.cos_sin),
                           .slots = gpu.Copy(args.slots.data()),
                           .k_pages = static_cast<uint16_t*>(args.cache.k),
                           .v_pages = static_cast<uint16_t*>(args.cache.v),
                           .norm_eps = args.norm_eps,
                           .rows = static_cast<int32_t>(args.rows),
                           .heads = args.heads,
                           .kv_heads = args.shape.kv_heads,
                           .head_dim = args.shape.head_dim,
                           .rope_first = args.rope_first,
                           .rope_dim = args.rope_dim,
                           .neighbours = args.neighbours ? 1 : 0,
                           .block_tokens = args.shape.block_tokens,
                           .kv_type = gpu.attention().kv_type},
                          gpu.stream()));
}

void PagedAttention(const PagedAttentionArgs& args, OpContext& context) {
  GpuContext& gpu = Gpu(context);
  gpu::AttentionParams params = gpu.attention();
  params.q = args.q;
  params.k_pages = static_cast<const uint16_t*>(args.cache.k);
  params.v_pages = static_cast<const uint16_t*>(args.cache.v);
  params.out_bf16 = args.out.bf16;
  params.scale = args.scale;
  params.softcap = args.softcap;
  params.window = args.window;
  if (params.prefill_count == 0) {
    gpu.Note(gpu::PagedAttention(params, gpu.stream()));
  } else if (gpu.numerics() == gpu::Numerics::kFast && gpu.device().info().major == 9 &&
             gpu::CanPrefillByWgmma(params)) {
    gpu.Note(gpu::WgmmaAttention(params, gpu.stream()));
  } else {
    gpu.Note(gpu::MixedAttention(params, gpu.stream()));
  }
  gpu.Note(gpu::MergeAttention(params, gpu.stream()));
  const gpu::Fp8Out fp8 = Fp8Form(gpu, args.out, args.rows);
  if (fp8.codes == nullptr) return;
  gpu.Note(gpu::QuantizeFp8({.x = args.out.bf16,
                             .out = fp8,
                             .rows = static_cast<int32_t>(args.rows),
                             .width = static_cast<int32_t>(args.out.width)},
                            gpu.stream()));
}

void RmsNorm(const RmsNormArgs& args, OpContext& context) {
  GpuContext& gpu = Gpu(context);
  // Nothing is added: x is only read.
  gpu.Note(gpu::AddNorm({.x = const_cast<float*>(args.x),
                         .weight = gpu.Copy(args.weight),
                         .out_bf16 = args.out.bf16,
                         .fp8 = Fp8Form(gpu, args.out, args.rows),
                         .eps = args.eps,
                         .rows = static_cast<int32_t>(args.rows),
                         .width = static_cast<int32_t>(args.out.width),
                         .x_stride = args.stride},
                        gpu.stream()));
}

void LatentAttention(const LatentAttentionArgs& args, OpContext& context) {
  GpuContext& gpu = Gpu(context);
  const int64_t lora = args.kv_b->cols;
  const int64_t head = args.nope_dim + args.rope_dim;
  const int64_t wide = lora + args.rope_dim;
  const auto rows = static_cast<int32_t>(args.rows);
  const auto* weights = reinterpret_cast<const uint16_t*>(args.kv_b->raw);
  gpu.Note(gpu::HeadProduct({.weights = weights,
                             .x = args.q,
                             .out = args.latent_q,
                             .head_elements = (args.nope_dim + args.v_dim) * lora,
                             .x_row = args.heads * head,
                             .x_head = head,
                             .out_row = args.heads * wide,
                             .out_head = wide,
                             .transposed = 0,
                             .rows = rows,
                             .heads = args.heads,
                             .inner = args.nope_dim,
                             .outputs = static_cast<int32_t>(lora)},
                            gpu.stream()));
  gpu.Note(gpu::LatentCache({.q = args.q,
                             .latent = args.latent.bf16,
                             .k_rope = args.k_rope,
                             .cos_sin = gpu.Copy(args.cos_sin),
                             .slots = gpu.Copy(args.slots.data()),
                             .latent_q = args.latent_q,
                             .pages = static_cast<uint16_t*>(args.cache.k),
                             .k_rope_stride = args.k_rope_stride,
                             .rows = rows,
                             .heads = args.heads,
                             .nope_dim = args.nope_dim,
                             .kv_lora = static_cast<int32_t>(lora),
                             .rope_dim = args.rope_dim,
                             .neighbours = args.neighbours ? 1 : 0,
                             .block_tokens = args.shape.block_tokens,
                             .kv_type = gpu.attention().kv_type},
                            gpu.stream()));
  gpu::AttentionParams attention = gpu.attention();
  attention.q = args.latent_q;
  attention.k_pages = static_cast<const uint16_t*>(args.cache.k);
  attention.out_bf16 = args.latent_out;
  attention.scale = args.scale;
  gpu.Note(gpu::LatentAttention(attention, args.rope_dim, gpu.stream()));
  gpu.Note(gpu::MergeAttention(attention, gpu.stream()));
  gpu.Note(gpu::HeadProduct({.weights = weights + args.nope_dim * lora,
                             .x_bf16 = args.latent_out,
                             .out_bf16 = args.out.bf16,
                             .head_elements = (args.nope_dim + args.v_dim) * lora,
                             .x_row = args.heads * lora,
                             .x_head = lora,
                             .out_row = int64_t{args.heads} * args.v_dim,
                             .out_head = args.v_dim,
                             .transposed = 1,
                             .rows = rows,
                             .heads = args.heads,
                             .inner = static_cast<int32_t>(lora),
                             .outputs = args.v_dim},
                            gpu.stream()));
}

void Activate(const ActivateArgs& args, OpContext& context) {
  GpuContext& gpu = Gpu(context);
  gpu.Note(gpu::Activate({.gate = args.gate,
                          .up = args.up,
                          .out_bf16 = args.out.bf16,
                          .fp8 = Fp8Form(gpu, args.out, args.rows),
                          .elements = args.rows * args.out.width,
                          .width = static_cast<int32_t>(args.out.width),
                          .kind = args.kind},
                         gpu.stream()));
}

void ScaleAndCap(const ScaleAndCapArgs& args, OpContext& context) {
  GpuContext& gpu = Gpu(context);
  gpu.Note(gpu::ScaleAndCap({.x = args.x,
                             .elements = args.rows * args.width,
                             .scale = args.scale,
                             .softcap = args.softcap},
                            gpu.stream()));
}

void GatedLinear(const GatedLinearArgs& args, OpContext& context) {
  const bool gated = args.gate.weight != nullptr;
  const LinearArgs::Output inner[2] = {args.up, args.gate};
  Linear({args.input, args.rows, std::span(inner).first(gated ? 2 : 1)}, context);
  Activate({args.kind, gated ? args.gate.out : nullptr, args.up.out, args.rows, args.out}, context);
}

void Route(const RouteArgs& args, OpContext& context) {
  GpuContext& gpu = Gpu(context);
  gpu.Note(gpu::RouteExperts({.logits = args.logits,
                              .chosen = args.chosen,
                              .weights = args.weights,
                              .rows = static_cast<int32_t>(args.rows),
                              .experts = args.experts,
                              .used = args.used,
                              .groups = args.groups,
                              .groups_used = args.groups_used,
                              .normalise = args.normalise ? 1 : 0,
                              .scale = args.scale,
                              .scoring = args.scoring},
                             gpu.stream()));
}

// Rows of a tile of one expert.
int32_t TileRows(int64_t slots, int64_t experts, const GpuContext& gpu) {
  const int32_t rows = gpu::ExpertTileRows(slots, experts);
  return gpu.stages_large_tiles() ? rows : std::min<int32_t>(rows, kSkinnyRows);
}

void Permute(const PermuteArgs& args, OpContext& context) {
  GpuContext& gpu = Gpu(context);
  const int64_t slots = args.rows * args.used;
  const int32_t tile_rows = TileRows(slots, args.experts, gpu);
  gpu.Note(gpu::PermuteExperts(
      {.chosen = args.chosen,
       .place = args.place,
       .row_at = args.row_at,
       .first = args.first,
       .tiles = static_cast<gpu::ExpertTile*>(args.tiles),
       .slots = static_cast<int32_t>(slots),
       .used = args.used,
       .experts = args.experts,
       .tile_count = static_cast<int32_t>(gpu::MostExpertTiles(slots, args.experts, tile_rows)),
       .tile_rows = tile_rows},
      gpu.stream()));
}

void Gather(const GatherArgs& args, OpContext& context) {
  GpuContext& gpu = Gpu(context);
  gpu.Note(gpu::GatherRows({.x = args.in.bf16,
                            .row_at = args.rows.data(),
                            .out = args.out.bf16,
                            .rows = static_cast<int32_t>(args.rows.size()),
                            .width = static_cast<int32_t>(args.out.width)},
                           gpu.stream()));
}

void ExpertLinear(const ExpertLinearArgs& args, OpContext& context) {
  GpuContext& gpu = Gpu(context);
  const auto experts = static_cast<int64_t>(args.first.size()) - 1;
  const int32_t tile_rows = TileRows(args.places, experts, gpu);
  for (const ExpertLinearArgs::Output& output : args.outputs) {
    const Weight& first = output.experts.front();
    gpu::SkinnyParams params = ProductOf(first, args.input, args.places, nullptr, output.out);
    params.experts = {
        .tiles = static_cast<const gpu::ExpertTile*>(args.tiles),
        .count = static_cast<int32_t>(gpu::MostExpertTiles(args.places, experts, tile_rows)),
        .tile_rows = tile_rows,
        // They were planned one after the other, each of the same size.
        .bytes = experts > 1 ? output.experts[1].raw - first.raw : 0};
    WEFT_CHECK(output.experts.back().raw == first.raw + (experts - 1) * params.experts.bytes);
    Multiply(first, params, gpu);
  }
}

void Combine(const CombineArgs& args, OpContext& context) {
  GpuContext& gpu = Gpu(context);
  gpu.Note(gpu::CombineExperts({.x = args.x,
                                .place = args.place,
                                .weights = args.weights,
                                .base = args.base,
                                .out = args.out,
                                .rows = static_cast<int32_t>(args.rows),
                                .used = args.used,
                                .width = static_cast<int32_t>(args.width)},
                               gpu.stream()));
}

}  // namespace

const OpTable& GpuOps() {
  static constexpr OpTable kTable = {
      .name = "gpu",
      .quantizes = Quantizes,
      .prepare = Prepare,
      .embed = Embed,
      .add_norm = AddNorm,
      .rms_norm = RmsNorm,
      .linear = Linear,
      .rope_and_cache = RopeAndCache,
      .paged_attention = PagedAttention,
      .latent_attention = LatentAttention,
      .activate = Activate,
      .gated_linear = GatedLinear,
      .scale_and_cap = ScaleAndCap,
      .route = Route,
      .permute = Permute,
      .gather = Gather,
      .expert_linear = ExpertLinear,
      .combine = Combine,
  };
  return kTable;
}

}  // namespace weft
