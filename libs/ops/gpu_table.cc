#include "libs/ops/gpu_table.h"

#include "libs/base/status.h"
#include "libs/ops/activate_gpu.h"
#include "libs/ops/embed_gpu.h"
#include "libs/ops/gpu_context.h"
#include "libs/ops/matmul_gpu.h"
#include "libs/ops/norm_gpu.h"
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
  return Gpu(context).KeepMatrix(raw, gpu::CanMultiply, name);
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
                         .delta_scale = args.delta_scale,
                         .eps = args.eps,
                         .rows = static_cast<int32_t>(args.rows),
                         .width = static_cast<int32_t>(args.out.width),
                         .layer = args.kind == NormKind::kLayer ? 1 : 0},
                        gpu.stream()));
}

void Linear(const LinearArgs& args, OpContext& context) {
  GpuContext& gpu = Gpu(context);
  for (const LinearArgs::Output& output : args.outputs) {
    const Weight& weight = *output.weight;
    gpu.Note(
        gpu::SkinnyMatmul(weight.type,
                          {.weights = weight.raw,
                           .x = args.input.bf16,
                           .bias = gpu.Copy(output.bias),
                           .out = output.out,
                           .outputs = weight.rows,
                           .cols = weight.cols,
                           .row_bytes = static_cast<int64_t>(*BytesFor(weight.type, weight.cols)),
                           .rows = static_cast<int32_t>(args.rows)},
                          gpu.stream()));
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
  gpu.Note(gpu::PagedAttention(params, gpu.stream()));
  gpu.Note(gpu::MergeAttention(params, gpu.stream()));
}

void Activate(const ActivateArgs& args, OpContext& context) {
  GpuContext& gpu = Gpu(context);
  gpu.Note(gpu::Activate({.gate = args.gate,
                          .up = args.up,
                          .out_bf16 = args.out.bf16,
                          .elements = args.rows * args.out.width,
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

}  // namespace

const OpTable& GpuOps() {
  static constexpr OpTable kTable = {
      .name = "gpu",
      .quantizes = Quantizes,
      .prepare = Prepare,
      .embed = Embed,
      .add_norm = AddNorm,
      .rms_norm = nullptr,
      .linear = Linear,
      .rope_and_cache = RopeAndCache,
      .paged_attention = PagedAttention,
      .activate = Activate,
      .gated_linear = GatedLinear,
      .scale_and_cap = ScaleAndCap,
      .route = nullptr,
      .gather = nullptr,
      .expert_linear = nullptr,
      .combine = nullptr,
  };
  return kTable;
}

}  // namespace weft
