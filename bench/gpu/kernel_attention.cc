// Attention with the heads of an 8B model: decode rows, prompts, and both in one launch.
#include "bench/gpu/kernel_cases.h"
#include "libs/ops/attention_gpu.h"
#include "libs/ops/prefill_gpu.h"
#include "libs/ops/prefill_wgmma_gpu.h"

namespace weft::bench {
namespace {

// Sequences that decode a row each, and sequences of a prompt.
struct Shape {
  int32_t decode, decode_context;
  int32_t prompts, prompt_rows, prompt_context;
};

// As GpuContext makes them of a step.
struct Plan {
  std::vector<gpu::AttentionItem> items, prefill;
  std::vector<int32_t> tables, positions, partial_rows;
  int32_t chunks = 1;
  double visible = 0;  // tokens of all rows together
};

constexpr int32_t kPage = 64;

Plan PlanOf(const Shape& shape, int32_t prefill_rows) {
  Plan plan;
  int32_t page = 0, row = 0;
  const auto table = [&](int32_t context) {
    const auto at = static_cast<int32_t>(plan.tables.size());
    for (int32_t i = 0; i < (context + kPage - 1) / kPage; ++i) plan.tables.push_back(page++);
    return at;
  };
  for (int32_t s = 0; s < shape.decode; ++s, ++row) {
    const int32_t position = shape.decode_context - 1;
    plan.items.push_back({row, 1, position, table(shape.decode_context), 1});
    plan.positions.push_back(position);
    plan.partial_rows.push_back(s);
    plan.visible += shape.decode_context;
    plan.chunks = position / gpu::kChunkTokens + 1;
  }
  for (int32_t s = 0; s < shape.prompts; ++s) {
    const int32_t at = table(shape.prompt_context);
    const int32_t first = shape.prompt_context - shape.prompt_rows;
    for (int32_t r = 0; r < shape.prompt_rows; r += prefill_rows) {
      plan.prefill.push_back(
          {row + r, std::min(prefill_rows, shape.prompt_rows - r), first + r, at, 0});
    }
    for (int32_t r = 0; r < shape.prompt_rows; ++r) {
      plan.positions.push_back(first + r);
      plan.partial_rows.push_back(-1);
      plan.visible += first + r + 1;
    }
    row += shape.prompt_rows;
  }
  std::reverse(plan.prefill.begin(), plan.prefill.end());
  return plan;
}

absl::Status OneShape(KernelCases& cases, const Shape& shape) {
  const int32_t heads = cases.small() ? 4 : 32, kv_heads = cases.small() ? 2 : 8;
  const int32_t dim = cases.small() ? 64 : 128;
  const Plan plan = PlanOf(shape, gpu::PrefillItemRows(heads, kv_heads, dim));
  const auto rows = static_cast<int32_t>(plan.positions.size());
  const uint64_t kv_bytes = static_cast<uint64_t>(kv_heads * dim) * kPage * 2 * plan.tables.size();
  WEFT_ASSIGN_OR_RETURN(const std::vector<DeviceBuffer> k, cases.Copies(kv_bytes));
  WEFT_ASSIGN_OR_RETURN(const std::vector<DeviceBuffer> v, cases.Copies(kv_bytes));
  const auto width = static_cast<uint64_t>(rows) * static_cast<uint64_t>(heads * dim);
  WEFT_ASSIGN_OR_RETURN(const DeviceBuffer q, cases.Floats(width));
  WEFT_ASSIGN_OR_RETURN(const DeviceBuffer out, cases.Room(width * 2));
  WEFT_ASSIGN_OR_RETURN(const DeviceBuffer items, cases.Put(plan.items));
  WEFT_ASSIGN_OR_RETURN(const DeviceBuffer prefill, cases.Put(plan.prefill));
  WEFT_ASSIGN_OR_RETURN(const DeviceBuffer tables, cases.Put(plan.tables));
  WEFT_ASSIGN_OR_RETURN(const DeviceBuffer positions, cases.Put(plan.positions));
  WEFT_ASSIGN_OR_RETURN(const DeviceBuffer partial_rows, cases.Put(plan.partial_rows));
  const auto sums =
      static_cast<uint64_t>(std::max(shape.decode, 1)) * static_cast<uint64_t>(heads * plan.chunks);
  WEFT_ASSIGN_OR_RETURN(const DeviceBuffer partial,
                        cases.Room(sums * static_cast<uint64_t>(dim + 2) * 4));
  gpu::AttentionParams params;
  params.q = static_cast<const float*>(q.get());
  params.items = static_cast<const gpu::AttentionItem*>(items.get());
  params.prefill_items = static_cast<const gpu::AttentionItem*>(prefill.get());
  params.tables = static_cast<const int32_t*>(tables.get());
  params.out_bf16 = static_cast<uint16_t*>(out.get());
  params.partial_o = static_cast<float*>(partial.get());
  params.partial_ml = params.partial_o + sums * static_cast<uint64_t>(dim);
  params.positions = static_cast<const int32_t*>(positions.get());
  params.partial_rows = static_cast<const int32_t*>(partial_rows.get());
  params.scale = 0.1f;
  params.item_count = static_cast<int32_t>(plan.items.size());
  params.prefill_count = static_cast<int32_t>(plan.prefill.size());
  params.rows = rows;
  params.heads = heads;
  params.kv_heads = kv_heads;
  params.head_dim = dim;
  params.block_tokens = kPage;
  params.chunks = plan.chunks;
  params.kv_type = gpu::KvType::kBf16;
  std::string name;
  if (shape.decode > 0)
    name = fmt::format("{} x 1 row, {} tokens", shape.decode, shape.decode_context);
  if (shape.prompts > 0) {
    name += fmt::format("{}{} x {} rows, {} tokens", name.empty() ? "" : "; ", shape.prompts,
                        shape.prompt_rows, shape.prompt_context);
  }
  const auto run = [&](const char* kernel, auto attend) {
    return cases.Case(
        kernel, name, 2 * kv_bytes + width * 6,
        [&](int32_t i) {
          params.k_pages = KernelCases::At<const uint16_t>(k, i);
          params.v_pages = KernelCases::At<const uint16_t>(v, i);
          const gpu::LaunchResult one = attend(params, cases.stream());
          return one.error != nullptr ? one : gpu::MergeAttention(params, cases.stream());
        },
        4.0 * plan.visible * heads * dim, Unit::kBf16);
  };
  if (shape.prompts == 0) return run("attention decode", gpu::PagedAttention);
  WEFT_RETURN_IF_ERROR(
      run(shape.decode == 0 ? "attention prefill" : "attention mixed", gpu::MixedAttention));
  if (!cases.hopper()) return absl::OkStatus();
  return run(shape.decode == 0 ? "attention prefill wgmma" : "attention mixed wgmma",
             gpu::WgmmaAttention);
}

}  // namespace

absl::Status AttentionCases(KernelCases& cases) {
  const std::vector<Shape> shapes =
      cases.small() ? std::vector<Shape>{{2, 600, 0, 0, 0}, {0, 0, 1, 16, 32}, {1, 40, 1, 9, 9}}
                    : std::vector<Shape>{
                          {1, 1024, 0, 0, 0},   {1, 8192, 0, 0, 0},    {1, 32'768, 0, 0, 0},
                          {16, 1024, 0, 0, 0},  {16, 8192, 0, 0, 0},   {64, 2048, 0, 0, 0},
                          {256, 1024, 0, 0, 0}, {0, 0, 1, 512, 512},   {0, 0, 1, 2048, 2048},
                          {0, 0, 1, 512, 8192}, {0, 0, 1, 8192, 8192}, {64, 2048, 1, 512, 4096}};
  for (const Shape& shape : shapes) WEFT_RETURN_IF_ERROR(OneShape(cases, shape));
  return absl::OkStatus();
}

}  // namespace weft::bench
