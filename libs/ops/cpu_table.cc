// The fast CPU table: splits each op into tasks for the thread team and calls the kernels of the
// instruction set in use. Tasks split rows and outputs, never a sum.
#include <algorithm>

#include "libs/base/status.h"
#include "libs/device/thread_team.h"
#include "libs/ops/expert_choice.h"
#include "libs/ops/op_table.h"

namespace weft {
namespace {

// Less work than this (in elements) is not worth waking another thread.
constexpr int64_t kSmallWork = 16384;
// Query rows of one attention task: K and V of a tile are read once for all of them.
constexpr int32_t kAttentionRows = 32;
// Loops of a linear are cut into about this many tasks per thread, so that a thread that loses its
// core for a while holds up little.
constexpr int64_t kTasksPerThread = 4;
// Products that wait in a core's cache for their activation.
constexpr int64_t kPieceFloats = 32768;

// `x` is row `row` of `a`, whether `a` keeps it or not.
void QuantizeRow(const float* x, const Activations& a, int64_t row, OpContext& context) {
  if (a.quantized.q == nullptr) return;
  context.kernels->quantize(x, a.width, a.quantized.from(row));
}
void QuantizeRow(const Activations& a, int64_t row, OpContext& context) {
  QuantizeRow(a.row(row), a, row, context);
}

// The room of every rank in context.scratch.
void ReserveScratch(OpContext& context, int64_t floats) {
  for (std::vector<float>& scratch : context.scratch) {
    if (scratch.size() < static_cast<size_t>(floats)) scratch.resize(static_cast<size_t>(floats));
  }
}

// Calls fn(row, rank) for all rows, several threads where the work is worth it.
template <typename Fn>
void ForRankedRows(int64_t rows, int64_t width, OpContext& context, Fn&& fn) {
  const int64_t per_task =
      std::max<int64_t>({1, kSmallWork / std::max<int64_t>(width, 1),
                         (rows + ThreadTeam::kMaxTasks - 1) / ThreadTeam::kMaxTasks});
  context.team->ParallelFor((rows + per_task - 1) / per_task, [&](int64_t task, int rank) {
    const int64_t end = std::min(rows, (task + 1) * per_task);
    for (int64_t row = task * per_task; row < end; ++row) fn(row, rank);
  });
}
template <typename Fn>
void ForRows(int64_t rows, int64_t width, OpContext& context, Fn&& fn) {
  ForRankedRows(rows, width, context, [&fn](int64_t row, int) { fn(row); });
}

bool Quantizes(const Weight& weight) {
  return weight.packed != nullptr && cpu::IsQuantized(weight.layout);
}

absl::StatusOr<Weight> Prepare(const Weight& raw, std::string_view name, OpContext& context) {
  return Repack(raw, name, *context.team, context.arena, context.taken);
}

void Embed(const EmbedArgs& args, OpContext& context) {
  const int64_t width = args.table->cols;
  const auto row_of = [width](const Weight& table, int32_t index) {
    return table.raw + static_cast<uint64_t>(index) * *BytesFor(table.type, width);
  };
  ForRows(static_cast<int64_t>(args.tokens.size()), width, context, [&](int64_t row) {
    const auto r = static_cast<size_t>(row);
    float* out = args.out + row * width;
    const Weight& table = *args.table;
    WEFT_CHECK(Dequantize(table.type, row_of(table, args.tokens[r]), width, out));
    if (args.scale != 1) context.kernels->scale_and_cap(out, width, args.scale, 0);
    if (args.position_table == nullptr) return;
    const Weight& positions = *args.position_table;
    const uint8_t* source = row_of(positions, args.positions[r]);
    constexpr int64_t kChunk = 256;  // whole blocks of every type
    float chunk[kChunk];
    for (int64_t i = 0; i < width; i += kChunk) {
      const int64_t count = std::min(kChunk, width - i);
      WEFT_CHECK(Dequantize(positions.type, source + *BytesFor(positions.type, i), count, chunk));
      context.kernels->add(out + i, chunk, count);
    }
  });
}

void Norm(const float* x, const NormWeights& weights, NormKind kind, float eps, int64_t width,
          float* out, OpContext& context) {
  if (kind == NormKind::kRms) {
    context.kernels->rms_norm(x, weights.weight, width, eps, out);
  } else {
    context.kernels->layer_norm(x, weights.weight, weights.bias, width, eps, out);
  }
}

void AddNorm(const AddNormArgs& args, OpContext& context) {
  const int64_t width = args.out.width;
  if (args.out.data == nullptr) ReserveScratch(context, width);
  ForRankedRows(args.rows, width, context, [&](int64_t row, int rank) {
    float* x = args.x + args.from(row) * width;
    if (args.delta != nullptr) {
      float* delta = args.delta + args.from(row) * width;
      if (args.delta_norm.weight != nullptr) {
        Norm(delta, args.delta_norm, args.kind, args.eps, width, delta, context);
      }
      if (args.delta_scale == 1) {
        context.kernels->add(x, delta, width);
      } else {
        context.kernels->add_scaled(x, delta, args.delta_scale, width);
      }
    }
    float* out = args.out.data == nullptr ? context.scratch[static_cast<size_t>(rank)].data()
                                          : args.out.row(row);
    Norm(x, args.norm, args.kind, args.eps, width, out, context);
    QuantizeRow(out, args.out, row, context);
  });
}

void RmsNorm(const RmsNormArgs& args, OpContext& context) {
  ForRows(args.rows, args.out.width, context, [&](int64_t row) {
    context.kernels->rms_norm(args.x + row * args.stride, args.weight, args.out.width, args.eps,
                              args.out.row(row));
    QuantizeRow(args.out, row, context);
  });
}

// Rows [first_row, first_row + rows) of x times the weight's groups [first, first + count), to
// `out` with rows `stride` apart.
void Multiply(const Activations& x, int64_t first_row, int64_t rows, const Weight& weight,
              const float* bias, int64_t first, int64_t count, float* out, int64_t stride,
              OpContext& context) {
  const int64_t column = first * cpu::kGroupRows;
  const int64_t columns = std::min(count * cpu::kGroupRows, weight.rows - column);
  context.kernels->matmul({
      .layout = weight.layout,
      .weights = weight.packed + first * cpu::GroupBytes(weight.layout, weight.cols),
      .cols = weight.cols,
      .groups = count,
      .outputs = columns,
      .x = x.quantized.q == nullptr ? x.quantized : x.quantized.from(first_row),
      .x_float = x.row(first_row),
      .rows = rows,
      .out = out,
      .out_stride = stride,
  });
  if (bias == nullptr) return;
  for (int64_t row = 0; row < rows; ++row) {
    context.kernels->add(out + row * stride, bias + column, columns);
  }
}

// The same to the output's own place.
void Multiply(const Activations& x, int64_t first_row, int64_t rows,
              const LinearArgs::Output& output, int64_t first, int64_t count, OpContext& context) {
  const int64_t stride = output.weight->rows;
  Multiply(x, first_row, rows, *output.weight, output.bias, first, count,
           output.out + first_row * stride + first * cpu::kGroupRows, stride, context);
}

void Linear(const LinearArgs& args, OpContext& context) {
  if (args.rows == 0) return;
  int64_t groups = 0;
  for (const LinearArgs::Output& output : args.outputs) groups += output.weight->groups();
  const int64_t threads = context.team->threads();
  // Tasks never cross weights; each takes `per_task` groups of one.
  const int64_t per_task =
      std::max<int64_t>({1, groups / (threads * kTasksPerThread), groups / 32768});
  int64_t tasks = 0;
  for (const LinearArgs::Output& output : args.outputs) {
    tasks += (output.weight->groups() + per_task - 1) / per_task;
  }
  context.team->ParallelFor(tasks, [&](int64_t task, int) {
    for (const LinearArgs::Output& output : args.outputs) {
      const Weight& weight = *output.weight;
      const int64_t own = (weight.groups() + per_task - 1) / per_task;
      if (task >= own) {
        task -= own;
        continue;
      }
      const int64_t first = task * per_task;
      const int64_t count = std::min(per_task, weight.groups() - first);
      Multiply(args.input, 0, args.rows, output, first, count, context);
      return;
    }
  });
}

KvElement ElementOf(DType type) {
  if (type == DType::kBF16) return KvElement::kBfloat;
  return IsScaledKv(type) ? KvElement::kScaledByte : KvElement::kHalf;
}

void RopeAndCache(const RopeAndCacheArgs& args, OpContext& context) {
  const KvShape& shape = args.shape;
  const KvPage k_page = shape.k_page();
  const KvPage v_page = shape.v_page();
  const int64_t q_width = static_cast<int64_t>(args.heads) * shape.head_dim;
  const int64_t k_width = static_cast<int64_t>(shape.kv_heads) * shape.head_dim;
  const int64_t v_width = static_cast<int64_t>(shape.kv_heads) * shape.v_dim;
  ForRows(args.rows, q_width + k_width + v_width, context, [&](int64_t row) {
    const int32_t slot = args.slots[static_cast<size_t>(row)];
    const int64_t page = slot / shape.block_tokens;
    uint8_t* k_block = static_cast<uint8_t*>(args.cache.k) + page * k_page.bytes();
    uint8_t* v_block = static_cast<uint8_t*>(args.cache.v) + page * v_page.bytes();
    context.kernels->rope_cache({
        .q = args.q + row * q_width,
        .k = args.k_head(row, 0),
        .v = args.v_head(row, 0),
        .k_shared = args.k_shared == nullptr ? nullptr : args.k_shared + row * args.k_shared_stride,
        .k_head_stride = args.k_head(0, 1) - args.k_head(0, 0),
        .v_head_stride = args.v_head(0, 1) - args.v_head(0, 0),
        .q_norm = args.q_norm,
        .k_norm = args.k_norm,
        .norm_eps = args.norm_eps,
        .cos_sin = args.cos_sin + row * args.rope_dim,
        .heads = args.heads,
        .kv_heads = shape.kv_heads,
        .head_dim = shape.head_dim,
        .v_dim = shape.v_dim,
        .rope_first = args.rope_first,
        .rope_dim = args.rope_dim,
        .neighbours = args.neighbours,
        .kv = ElementOf(shape.type),
        .k_block = k_block,
        .v_block = v_block,
        .k_scales = k_block + k_page.scales_at(0),
        .v_scales = v_block + v_page.scales_at(0),
        .block_tokens = shape.block_tokens,
        .offset = slot % shape.block_tokens,
    });
  });
}

void PagedAttention(const PagedAttentionArgs& args, OpContext& context) {
  const KvShape& shape = args.shape;
  const int32_t group = args.heads / shape.kv_heads;
  const int64_t q_width = static_cast<int64_t>(args.heads) * shape.head_dim;
  const int64_t width = args.out.width;
  struct Piece {
    const AttentionSequence* sequence;
    int32_t first;
    int32_t rows;
  };
  std::vector<Piece> pieces;
  int32_t most_rows = 0;
  for (const AttentionSequence& sequence : args.sequences) {
    for (int32_t first = 0; first < sequence.rows; first += kAttentionRows) {
      const int32_t rows = std::min(kAttentionRows, sequence.rows - first);
      most_rows = std::max(most_rows, rows);
      pieces.push_back({&sequence, first, rows});
    }
  }
  // Long rows first: the last tasks to be claimed are short, so threads finish together.
  std::reverse(pieces.begin(), pieces.end());
  // A task quantises what it has computed, unless a block of 32 crosses its heads. Its outputs lie
  // in its scratch where nobody else reads them.
  const int64_t columns = static_cast<int64_t>(group) * shape.v_dim;
  const bool quantizes = args.out.quantized.q != nullptr;
  const bool fused = quantizes && QuantisesInTasks(columns);
  const bool kept = args.out.data != nullptr;
  WEFT_CHECK(kept || fused);
  const int64_t scratch_floats =
      cpu::AttentionScratchFloats(static_cast<int64_t>(most_rows) * group, shape.v_dim);
  ReserveScratch(context, scratch_floats + (kept ? 0 : most_rows * columns));
  const auto tasks = static_cast<int64_t>(pieces.size()) * shape.kv_heads;
  const int64_t per_task = (tasks + ThreadTeam::kMaxTasks - 1) / ThreadTeam::kMaxTasks;
  const KvPage k_page = shape.k_page();
  const KvPage v_page = shape.v_page();
  const auto* k_cache = static_cast<const uint8_t*>(args.cache.k);
  const auto* v_cache = static_cast<const uint8_t*>(args.cache.v);
  context.team->ParallelFor(
      (tasks + per_task - 1) / std::max<int64_t>(per_task, 1), [&](int64_t task, int rank) {
        const int64_t end = std::min(tasks, (task + 1) * per_task);
        for (int64_t i = task * per_task; i < end; ++i) {
          const Piece& piece = pieces[static_cast<size_t>(i / shape.kv_heads)];
          const int64_t kv_head = i % shape.kv_heads;
          const int64_t row = piece.sequence->first_row + piece.first;
          float* scratch = context.scratch[static_cast<size_t>(rank)].data();
          float* out = kept ? args.out.row(row) + kv_head * columns : scratch + scratch_floats;
          const int64_t out_stride = kept ? width : columns;
          context.kernels->attention({
              .q = args.q + row * q_width + kv_head * group * shape.head_dim,
              .q_stride = q_width,
              .out = out,
              .out_stride = out_stride,
              .rows = piece.rows,
              .first_position = piece.sequence->first_position + piece.first,
              .group = group,
              .head_dim = shape.head_dim,
              .v_dim = shape.v_dim,
              .scale = args.scale,
              .softcap = args.softcap,
              .window = args.window,
              .kv = ElementOf(shape.type),
              .k_cache = k_cache + k_page.elements_at(kv_head),
              .v_cache = v_cache + v_page.elements_at(kv_head),
              .k_scales = k_cache + k_page.scales_at(kv_head),
              .v_scales = v_cache + v_page.scales_at(kv_head),
              .k_page_stride = k_page.bytes(),
              .v_page_stride = v_page.bytes(),
              .block_table = piece.sequence->block_table,
              .block_tokens = shape.block_tokens,
              .scratch = scratch,
          });
          if (!fused) continue;
          for (int64_t r = 0; r < piece.rows; ++r) {
            context.kernels->quantize(
                out + r * out_stride, columns,
                args.out.quantized.from(row + r, kv_head * columns / cpu::kQBlock));
          }
        }
      });
  if (quantizes && !fused) {
    ForRows(args.rows, width, context, [&](int64_t row) { QuantizeRow(args.out, row, context); });
  }
}

void Activate(const ActivateArgs& args, OpContext& context) {
  const int64_t width = args.out.width;
  ForRows(args.rows, 4 * width, context, [&](int64_t row) {
    const float* gate = args.gate == nullptr ? nullptr : args.gate + row * width;
    context.kernels->activate(args.kind, gate, args.up + row * width, width, args.out.row(row));
    QuantizeRow(args.out, row, context);
  });
}

// One loop for both products, the activation and the quantisation: a task takes some columns of all
// rows, a piece of them at a time, so that what is between stays in the cache.
void GatedLinear(const GatedLinearArgs& args, OpContext& context) {
  if (args.rows == 0) return;
  const bool gated = args.gate.weight != nullptr;
  const Weight& up = *args.up.weight;
  const int64_t groups = up.groups();
  // Whole blocks of 32 columns; a piece has at most kPieceFloats products of each weight.
  constexpr int64_t kUnit = cpu::kQBlock / cpu::kGroupRows;
  const int64_t units = (groups + kUnit - 1) / kUnit;
  const int64_t threads = context.team->threads();
  const int64_t per_task =
      kUnit * std::max<int64_t>({1, units / (threads * kTasksPerThread),
                                 (units + ThreadTeam::kMaxTasks - 1) / ThreadTeam::kMaxTasks});
  const int64_t fit = kPieceFloats / (args.rows * cpu::kQBlock);
  const int64_t per_piece = std::min(per_task, kUnit * std::max<int64_t>(1, fit));
  ReserveScratch(context, 2 * args.rows * per_piece * cpu::kGroupRows);
  context.team->ParallelFor((groups + per_task - 1) / per_task, [&](int64_t task, int rank) {
    float* up_out = context.scratch[static_cast<size_t>(rank)].data();
    const int64_t end = std::min(groups, (task + 1) * per_task);
    for (int64_t first = task * per_task; first < end; first += per_piece) {
      const int64_t count = std::min(per_piece, end - first);
      const int64_t column = first * cpu::kGroupRows;
      const int64_t columns = std::min(count * cpu::kGroupRows, up.rows - column);
      float* gate_out = up_out + args.rows * columns;
      Multiply(args.input, 0, args.rows, up, args.up.bias, first, count, up_out, columns, context);
      if (gated) {
        Multiply(args.input, 0, args.rows, *args.gate.weight, args.gate.bias, first, count,
                 gate_out, columns, context);
      }
      for (int64_t row = 0; row < args.rows; ++row) {
        float* x = up_out + row * columns;
        float* out = args.out.data == nullptr ? x : args.out.row(row) + column;
        context.kernels->activate(args.kind, gated ? gate_out + row * columns : nullptr, x, columns,
                                  out);
        if (args.out.quantized.q == nullptr) continue;
        context.kernels->quantize(out, columns,
                                  args.out.quantized.from(row, column / cpu::kQBlock));
      }
    }
  });
}

void ScaleAndCap(const ScaleAndCapArgs& args, OpContext& context) {
  ForRows(args.rows, 4 * args.width, context, [&](int64_t row) {
    context.kernels->scale_and_cap(args.x + row * args.width, args.width, args.scale, args.softcap);
  });
}

void Route(const RouteArgs& args, OpContext& context) {
  ForRows(args.rows, 8 * args.experts, context, [&](int64_t row) {
    float* x = args.logits + row * args.experts;
    if (args.scoring == ExpertScoring::kSigmoid) {
      context.kernels->sigmoid(x, args.experts);
    } else {
      context.kernels->softmax(x, args.experts);
    }
    ChooseExperts(args, row);
  });
}

void Gather(const GatherArgs& args, OpContext& context) {
  ForRows(static_cast<int64_t>(args.rows.size()), args.in.width, context, [&](int64_t i) {
    std::copy_n(args.in.row(args.rows[static_cast<size_t>(i)]), args.in.width, args.out.row(i));
    QuantizeRow(args.out, i, context);
  });
}

void ExpertLinear(const ExpertLinearArgs& args, OpContext& context) {
  // Tasks never cross experts: `count` groups of one expert's weight each.
  struct Piece {
    LinearArgs::Output output;
    int64_t first_row, rows, first, count;
  };
  int64_t groups = 0;
  const auto each = [&](auto&& fn) {
    for (const ExpertLinearArgs::Output& output : args.outputs) {
      for (size_t e = 0; e < output.experts.size(); ++e) {
        const int64_t rows = args.first[e + 1] - args.first[e];
        if (rows > 0) fn(LinearArgs::Output{&output.experts[e], output.out}, args.first[e], rows);
      }
    }
  };
  each([&](const LinearArgs::Output& output, int64_t, int64_t) {
    groups += output.weight->groups();
  });
  const int64_t threads = context.team->threads();
  const int64_t per_task =
      std::max<int64_t>({1, groups / (threads * kTasksPerThread), groups / 32768});
  std::vector<Piece> pieces;
  each([&](const LinearArgs::Output& output, int64_t first_row, int64_t rows) {
    const int64_t all = output.weight->groups();
    for (int64_t first = 0; first < all; first += per_task) {
      pieces.push_back({output, first_row, rows, first, std::min(per_task, all - first)});
    }
  });
  context.team->ParallelFor(static_cast<int64_t>(pieces.size()), [&](int64_t task, int) {
    const Piece& piece = pieces[static_cast<size_t>(task)];
    Multiply(args.input, piece.first_row, piece.rows, piece.output, piece.first, piece.count,
             context);
  });
}

void Combine(const CombineArgs& args, OpContext& context) {
  ForRows(args.rows, args.width * args.used, context, [&](int64_t row) {
    float* out = args.out + row * args.width;
    if (args.base == nullptr) {
      std::fill_n(out, args.width, 0.0f);
    } else if (args.base != args.out) {
      std::copy_n(args.base + row * args.width, args.width, out);
    }
    for (int64_t k = row * args.used; k < (row + 1) * args.used; ++k) {
      context.kernels->add_scaled(out, args.x + args.place[k] * args.width, args.weights[k],
                                  args.width);
    }
  });
}

}  // namespace

const OpTable& CpuOps() {
  static constexpr OpTable kTable = {
      .name = "cpu",
      .quantizes = Quantizes,
      .prepare = Prepare,
      .embed = Embed,
      .add_norm = AddNorm,
      .rms_norm = RmsNorm,
      .linear = Linear,
      .rope_and_cache = RopeAndCache,
      .paged_attention = PagedAttention,
      .latent_attention = nullptr,
      .activate = Activate,
      .gated_linear = GatedLinear,
      .scale_and_cap = ScaleAndCap,
      .route = Route,
      .permute = PermuteSlots,
      .gather = Gather,
      .expert_linear = ExpertLinear,
      .combine = Combine,
  };
  return kTable;
}

}  // namespace weft
