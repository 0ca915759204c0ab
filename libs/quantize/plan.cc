#include "libs/quantize/plan.h"

#include <algorithm>
#include <charconv>
#include <optional>

#include "libs/tensor/block_formats.h"

namespace weft {
namespace {

bool Contains(std::string_view text, std::string_view part) {
  return text.find(part) != std::string_view::npos;
}

// "blk.12.attn_v.weight" -> 12.
std::optional<int64_t> LayerOf(std::string_view name) {
  constexpr std::string_view kPrefix = "blk.";
  if (!name.starts_with(kPrefix)) return std::nullopt;
  int64_t layer = 0;
  const char* begin = name.data() + kPrefix.size();
  const char* end = name.data() + name.size();
  const auto [rest, error] = std::from_chars(begin, end, layer);
  if (error != std::errc() || rest == end || *rest != '.' || layer < 0) return std::nullopt;
  return layer;
}

// The first and the last eighth of the layers and every third between lose most by few bits.
bool IsSensitive(int64_t layer, int64_t layers) {
  const int64_t eighth = layers / 8;
  return layer < eighth || layer >= 7 * layers / 8 || (layer - eighth) % 3 == 2;
}

bool IsQuantized(const Tensor& tensor) {
  const std::string_view name = tensor.name;
  return tensor.dims.size() >= 2 && name.ends_with(".weight") && !Contains(name, "_norm.") &&
         !Contains(name, "ffn_gate_inp.") && !Contains(name, "position_embd.") &&
         !Contains(name, "token_types.");
}

struct Context {
  const QuantizeMix& mix;
  bool tied;  // the embedding is the output matrix too
  int64_t layers;
  uint64_t experts;
};

DType MixedType(const Tensor& tensor, const Context& context) {
  const std::string_view name = tensor.name;
  const DType type = context.mix.type;
  const bool plain = FindBlockFormat(type) == nullptr;
  if (context.mix.pure || plain || type == DType::kQ8_0) return type;
  if (name == "output.weight" || (context.tied && name == "token_embd.weight")) {
    return DType::kQ6_K;
  }
  if (type != DType::kQ4_K) return type;
  const std::optional<int64_t> layer = LayerOf(name);
  if (!layer) return type;
  // The attention of a mixture of eight experts is small beside them.
  const bool eight = context.experts == 8;
  if (Contains(name, ".attn_v.")) {
    return eight ? DType::kQ8_0 : IsSensitive(*layer, context.layers) ? DType::kQ6_K : type;
  }
  if (Contains(name, ".attn_k.") && eight) return DType::kQ8_0;
  if (Contains(name, ".attn_output.") && eight) return DType::kQ5_K;
  if (Contains(name, ".attn_qkv.")) return DType::kQ5_K;
  if (Contains(name, ".ffn_down") && IsSensitive(*layer, context.layers)) return DType::kQ6_K;
  return type;
}

// The type itself, or what takes its place for rows of `columns` elements.
DType Fitting(DType type, int64_t columns) {
  if (columns % BlockSize(type) == 0) return type;
  switch (type) {
    case DType::kQ4_K:
      type = DType::kQ5_0;
      break;
    case DType::kQ5_K:
      type = DType::kQ5_1;
      break;
    case DType::kQ6_K:
      type = DType::kQ8_0;
      break;
    default:
      break;
  }
  return columns % BlockSize(type) == 0 ? type : DType::kF16;
}

}  // namespace

std::vector<PlannedTensor> PlanTypes(std::span<const Tensor> tensors, const QuantizeMix& mix,
                                     uint64_t experts) {
  Context context{mix, true, 0, experts};
  for (const Tensor& tensor : tensors) {
    if (tensor.name == "output.weight") context.tied = false;
    if (const auto layer = LayerOf(tensor.name)) {
      context.layers = std::max(context.layers, *layer + 1);
    }
  }
  std::vector<PlannedTensor> plan;
  plan.reserve(tensors.size());
  for (const Tensor& tensor : tensors) {
    PlannedTensor planned{&tensor, DType::kF32, DType::kF32};
    if (IsQuantized(tensor)) {
      planned.wanted = MixedType(tensor, context);
      planned.type = Fitting(planned.wanted, tensor.dims[0]);
    } else if (!IsSupported(tensor.type) || FindBlockFormat(tensor.type) != nullptr) {
      planned.type = planned.wanted = tensor.type;  // whatever it is, it is copied
    }
    plan.push_back(planned);
  }
  return plan;
}

uint32_t FileTypeNumber(const QuantizeMix& mix) {
  switch (mix.type) {
    case DType::kF16:
      return 1;
    case DType::kBF16:
      return 32;
    case DType::kQ4_0:
      return 2;
    case DType::kQ8_0:
      return 7;
    case DType::kQ4_K:
      return mix.pure ? 14 : 15;  // Q4_K_S and Q4_K_M
    case DType::kQ6_K:
      return 18;
    default:
      return 0;
  }
}

}  // namespace weft
