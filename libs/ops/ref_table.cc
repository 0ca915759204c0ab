// The oracle: every op as its formula says, scalar, in fp32. Products are rounded to fp32 before
// they are added; a dot product has eight partial sums (element i goes to sum i mod 8), which are
// added pairwise at the end, so that its rounding error stays near that of a blocked BLAS. Weights
// are dequantised as the format defines them. K and V are rounded once, when they enter the cache,
// if its type is F16. Nothing here is shared with the fast kernels except the half conversion.
#include <algorithm>
#include <cmath>

#include "libs/base/status.h"
#include "libs/device/thread_team.h"
#include "libs/ops/expert_choice.h"
#include "libs/ops/op_table.h"
#include "libs/ops/ref_cache.h"
#include "libs/tensor/half.h"

namespace weft {
namespace {

float Dot(const float* a, const float* b, int64_t n) {
  float sums[8] = {};
  int64_t i = 0;
  for (; i + 8 <= n; i += 8) {
    for (int j = 0; j < 8; ++j) sums[j] += a[i + j] * b[i + j];
  }
  for (int j = 0; i + j < n; ++j) sums[j] += a[i + j] * b[i + j];
  return ((sums[0] + sums[4]) + (sums[2] + sums[6])) + ((sums[1] + sums[5]) + (sums[3] + sums[7]));
}

bool Quantizes(const Weight&) { return false; }

absl::StatusOr<Weight> Prepare(const Weight& raw, std::string_view name, OpContext&) {
  if (!IsSupported(raw.type)) {
    return Unimplemented("tensor {}: type {} is not supported", name, Name(raw.type));
  }
  return raw;
}

void DequantizeRow(const Weight& weight, int64_t row, float* out) {
  const uint64_t row_bytes = *BytesFor(weight.type, weight.cols);
  WEFT_CHECK(Dequantize(weight.type, weight.raw + static_cast<uint64_t>(row) * row_bytes,
                        weight.cols, out));
}

void Embed(const EmbedArgs& args, OpContext&) {
  const int64_t width = args.table->cols;
  std::vector<float> position(args.position_table == nullptr ? 0 : static_cast<size_t>(width));
  for (size_t row = 0; row < args.tokens.size(); ++row) {
    float* out = args.out + static_cast<int64_t>(row) * width;
    DequantizeRow(*args.table, args.tokens[row], out);
    for (int64_t i = 0; i < width; ++i) out[i] *= args.scale;
    if (args.position_table == nullptr) continue;
    DequantizeRow(*args.position_table, args.positions[row], position.data());
    for (int64_t i = 0; i < width; ++i) out[i] += position[static_cast<size_t>(i)];
  }
}

void Norm(const float* x, const NormWeights& weights, NormKind kind, float eps, int64_t width,
          float* out) {
  float mean = 0;
  if (kind == NormKind::kLayer) {
    for (int64_t i = 0; i < width; ++i) mean += x[i];
    mean /= static_cast<float>(width);
  }
  for (int64_t i = 0; i < width; ++i) out[i] = x[i] - mean;
  const float inverse = 1.0f / std::sqrt(Dot(out, out, width) / static_cast<float>(width) + eps);
  for (int64_t i = 0; i < width; ++i) {
    out[i] = out[i] * inverse * weights.weight[i];
    if (weights.bias != nullptr) out[i] += weights.bias[i];
  }
}

void AddNorm(const AddNormArgs& args, OpContext&) {
  const int64_t width = args.out.width;
  for (int64_t row = 0; row < args.rows; ++row) {
    float* x = args.x + args.from(row) * width;
    if (args.delta != nullptr) {
      float* delta = args.delta + args.from(row) * width;
      if (args.delta_norm.weight != nullptr) {
        Norm(delta, args.delta_norm, args.kind, args.eps, width, delta);
      }
      for (int64_t i = 0; i < width; ++i) x[i] += args.delta_scale * delta[i];
    }
    Norm(x, args.norm, args.kind, args.eps, width, args.out.row(row));
  }
}

void RmsNorm(const RmsNormArgs& args, OpContext&) {
  for (int64_t row = 0; row < args.rows; ++row) {
    Norm(args.x + row * args.stride, {args.weight}, NormKind::kRms, args.eps, args.out.width,
         args.out.row(row));
  }
}

void Linear(const LinearArgs& args, OpContext& context) {
  constexpr int64_t kRowsPerTask = 64;
  for (const LinearArgs::Output& output : args.outputs) {
    const Weight& weight = *output.weight;
    const int64_t per_task =
        std::max(kRowsPerTask, (weight.rows + ThreadTeam::kMaxTasks - 1) / ThreadTeam::kMaxTasks);
    const int64_t tasks = (weight.rows + per_task - 1) / per_task;
    context.team->ParallelFor(tasks, [&](int64_t task, int rank) {
      std::vector<float>& values = context.scratch[static_cast<size_t>(rank)];
      if (values.size() < static_cast<size_t>(weight.cols)) {
        values.resize(static_cast<size_t>(weight.cols));
      }
      const int64_t end = std::min(weight.rows, (task + 1) * per_task);
      for (int64_t n = task * per_task; n < end; ++n) {
        DequantizeRow(weight, n, values.data());
        for (int64_t row = 0; row < args.rows; ++row) {
          output.out[row * weight.rows + n] = Dot(values.data(), args.input.row(row), weight.cols) +
                                              (output.bias == nullptr ? 0.0f : output.bias[n]);
        }
      }
    });
  }
}

void NormAndRotate(float* head, const float* norm, const float* cos_sin,
                   const RopeAndCacheArgs& args) {
  const int32_t dim = args.shape.head_dim;
  if (norm != nullptr) {
    const float mean = Dot(head, head, dim) / static_cast<float>(dim);
    const float inverse = 1.0f / std::sqrt(mean + args.norm_eps);
    for (int32_t i = 0; i < dim; ++i) head[i] = head[i] * inverse * norm[i];
  }
  const int32_t pairs = args.rope_dim / 2;
  for (int32_t i = 0; i < pairs; ++i) {
    const int32_t first = args.rope_first + (args.neighbours ? 2 * i : i);
    const int32_t second = first + (args.neighbours ? 1 : pairs);
    const float c = cos_sin[i];
    const float s = cos_sin[pairs + i];
    const float a = head[first];
    const float b = head[second];
    head[first] = a * c - b * s;
    head[second] = a * s + b * c;
  }
}

void RopeAndCache(const RopeAndCacheArgs& args, OpContext&) {
  const KvShape& shape = args.shape;
  const int32_t dim = shape.head_dim;
  RefCache keys = RefCache::Keys(args.cache, shape);
  RefCache values = RefCache::Values(args.cache, shape);
  std::vector<float> key(static_cast<size_t>(dim));
  for (int64_t row = 0; row < args.rows; ++row) {
    const float* cos_sin = args.cos_sin + row * args.rope_dim;
    for (int32_t h = 0; h < args.heads; ++h) {
      NormAndRotate(args.q + (row * args.heads + h) * dim, args.q_norm, cos_sin, args);
    }
    const int32_t slot = args.slots[static_cast<size_t>(row)];
    const int32_t page = slot / shape.block_tokens;
    const int32_t offset = slot % shape.block_tokens;
    for (int32_t h = 0; h < shape.kv_heads; ++h) {
      const int32_t own = args.k_shared == nullptr ? dim : args.rope_first;
      std::copy_n(args.k_head(row, h), own, key.begin());
      if (own < dim) {
        std::copy_n(args.k_shared + row * args.k_shared_stride, dim - own, key.begin() + own);
      }
      NormAndRotate(key.data(), args.k_norm, cos_sin, args);
      keys.Store(page, h, offset, key.data());
      values.Store(page, h, offset, args.v_head(row, h));
    }
  }
}

float SoftCap(float x, float cap) { return cap > 0 ? cap * std::tanh(x / cap) : x; }

void AttendRow(const PagedAttentionArgs& args, const AttentionSequence& sequence, int64_t row,
               int64_t tokens, std::vector<float>& scores) {
  const KvShape& shape = args.shape;
  const int32_t dim = shape.head_dim;
  const int32_t group = args.heads / shape.kv_heads;
  const int64_t first = args.window > 0 ? std::max<int64_t>(0, tokens - args.window) : 0;
  const RefCache keys = RefCache::Keys(args.cache, shape);
  const RefCache values = RefCache::Values(args.cache, shape);
  scores.resize(static_cast<size_t>(tokens));
  for (int32_t head = 0; head < args.heads; ++head) {
    const float* q = args.q + (row * args.heads + head) * dim;
    const int32_t kv_head = head / group;
    float largest = -INFINITY;
    for (int64_t t = first; t < tokens; ++t) {
      const int32_t page = sequence.block_table[t / shape.block_tokens];
      const int64_t offset = t % shape.block_tokens;
      float sum = 0;
      for (int32_t d = 0; d < dim; ++d) {
        sum += q[d] * keys.Load(page, kv_head, offset, d);
      }
      const float score = SoftCap(sum * args.scale, args.softcap);
      scores[static_cast<size_t>(t)] = score;
      largest = std::max(largest, score);
    }
    float total = 0;
    for (int64_t t = first; t < tokens; ++t) {
      float& score = scores[static_cast<size_t>(t)];
      score = std::exp(score - largest);
      total += score;
    }
    float* out = args.out.row(row) + head * shape.v_dim;
    std::fill_n(out, shape.v_dim, 0.0f);
    for (int64_t t = first; t < tokens; ++t) {
      const int32_t page = sequence.block_table[t / shape.block_tokens];
      const float p = scores[static_cast<size_t>(t)] / total;
      for (int32_t d = 0; d < shape.v_dim; ++d) {
        out[d] += p * values.Load(page, kv_head, t % shape.block_tokens, d);
      }
    }
  }
}

void PagedAttention(const PagedAttentionArgs& args, OpContext& context) {
  for (const AttentionSequence& sequence : args.sequences) {
    context.team->ParallelFor(sequence.rows, [&](int64_t row, int rank) {
      AttendRow(args, sequence, sequence.first_row + row, sequence.first_position + row + 1,
                context.scratch[static_cast<size_t>(rank)]);
    });
  }
}

float Activated(Activation kind, float x) {
  switch (kind) {
    case Activation::kSilu:
      return x / (1.0f + std::exp(-x));
    case Activation::kGeluTanh:
      return 0.5f * x * (1.0f + std::tanh(0.7978845608f * (x + 0.044715f * x * x * x)));
    case Activation::kGelu:
      return 0.5f * x * (1.0f + std::erf(x * 0.7071067812f));
  }
  return x;
}

void Activate(const ActivateArgs& args, OpContext&) {
  for (int64_t i = 0; i < args.rows * args.out.width; ++i) {
    args.out.data[i] = args.gate == nullptr ? Activated(args.kind, args.up[i])
                                            : Activated(args.kind, args.gate[i]) * args.up[i];
  }
}

void GatedLinear(const GatedLinearArgs& args, OpContext& context) {
  const auto floats = static_cast<size_t>(args.rows * args.out.width);
  const bool gated = args.gate.weight != nullptr;
  std::vector<float> up(floats);
  std::vector<float> gate(gated ? floats : 0);
  const LinearArgs::Output inner[2] = {{args.up.weight, up.data(), args.up.bias},
                                       {args.gate.weight, gate.data(), args.gate.bias}};
  Linear({args.input, args.rows, std::span(inner).first(gated ? 2 : 1)}, context);
  Activate({args.kind, gated ? gate.data() : nullptr, up.data(), args.rows, args.out}, context);
}

void ScaleAndCap(const ScaleAndCapArgs& args, OpContext&) {
  for (int64_t i = 0; i < args.rows * args.width; ++i) {
    args.x[i] = SoftCap(args.x[i] * args.scale, args.softcap);
  }
}

void Route(const RouteArgs& args, OpContext&) {
  for (int64_t row = 0; row < args.rows; ++row) {
    float* x = args.logits + row * args.experts;
    if (args.scoring == ExpertScoring::kSigmoid) {
      for (int32_t i = 0; i < args.experts; ++i) x[i] = 1.0f / (1.0f + std::exp(-x[i]));
    } else {
      const float largest = *std::max_element(x, x + args.experts);
      float sum = 0;
      for (int32_t i = 0; i < args.experts; ++i) sum += x[i] = std::exp(x[i] - largest);
      for (int32_t i = 0; i < args.experts; ++i) x[i] /= sum;
    }
    ChooseExperts(args, row);
  }
}

void Gather(const GatherArgs& args, OpContext&) {
  for (size_t i = 0; i < args.rows.size(); ++i) {
    std::copy_n(args.in.row(args.rows[i]), args.in.width, args.out.row(static_cast<int64_t>(i)));
  }
}

void ExpertLinear(const ExpertLinearArgs& args, OpContext& context) {
  for (const ExpertLinearArgs::Output& output : args.outputs) {
    for (size_t e = 0; e < output.experts.size(); ++e) {
      const int64_t first = args.first[e];
      const int64_t rows = args.first[e + 1] - first;
      const Weight& weight = output.experts[e];
      Activations input = args.input;
      input.data = args.input.row(first);
      const LinearArgs::Output own{&weight, output.out + first * weight.rows};
      if (rows > 0) Linear({input, rows, {&own, 1}}, context);
    }
  }
}

void Combine(const CombineArgs& args, OpContext&) {
  for (int64_t row = 0; row < args.rows; ++row) {
    float* out = args.out + row * args.width;
    for (int64_t i = 0; i < args.width; ++i) {
      float sum = args.base == nullptr ? 0.0f : args.base[row * args.width + i];
      for (int64_t k = row * args.used; k < (row + 1) * args.used; ++k) {
        sum += args.weights[k] * args.x[args.place[k] * args.width + i];
      }
      out[i] = sum;
    }
  }
}

}  // namespace

const OpTable& RefOps() {
  static constexpr OpTable kTable = {
      .name = "ref",
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
