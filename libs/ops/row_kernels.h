// Kernels over one row of activations. Included only by kernels_*.cc.
#pragma once

#include <cmath>
#include <cstdint>

#include "libs/ops/kernels.h"
#include "libs/ops/kv_kernels.h"
#include "libs/ops/vector_math.h"

namespace weft::cpu {

template <typename S>
void RmsNorm(const float* x, const float* weight, int64_t n, float eps, float* out) {
  using F = typename S::F;
  const int64_t whole = n / 16 * 16;
  const int tail = static_cast<int>(n - whole);
  F sums = S::Set1(0.0f);
  for (int64_t i = 0; i < whole; i += 16) {
    const F a = S::Load(x + i);
    sums = S::Fma(a, a, sums);
  }
  if (tail > 0) {
    const F a = S::LoadFirst(x + whole, tail);
    sums = S::Fma(a, a, sums);
  }
  const float mean = S::ReduceAdd(sums) / static_cast<float>(n);
  const F inverse = S::Set1(1.0f / std::sqrt(mean + eps));
  for (int64_t i = 0; i < whole; i += 16) {
    S::Store(out + i, S::Mul(S::Mul(S::Load(x + i), inverse), S::Load(weight + i)));
  }
  if (tail > 0) {
    const F a = S::Mul(S::LoadFirst(x + whole, tail), inverse);
    S::StoreFirst(out + whole, S::Mul(a, S::LoadFirst(weight + whole, tail)), tail);
  }
}

// Two passes: the variance of centred values does not cancel.
template <typename S>
void LayerNorm(const float* x, const float* weight, const float* bias, int64_t n, float eps,
               float* out) {
  using F = typename S::F;
  F sums = S::Set1(0.0f);
  for (int64_t i = 0; i < n; i += 16) {
    sums = S::Add(sums, S::LoadFirst(x + i, n - i < 16 ? static_cast<int>(n - i) : 16));
  }
  const F mean = S::Set1(S::ReduceAdd(sums) / static_cast<float>(n));
  F squares = S::Set1(0.0f);
  for (int64_t i = 0; i < n; i += 16) {
    const int lanes = n - i < 16 ? static_cast<int>(n - i) : 16;
    const F centred = S::FirstLanes(lanes, S::Sub(S::LoadFirst(x + i, lanes), mean), S::Set1(0.0f));
    squares = S::Fma(centred, centred, squares);
  }
  const float variance = S::ReduceAdd(squares) / static_cast<float>(n);
  const F inverse = S::Set1(1.0f / std::sqrt(variance + eps));
  for (int64_t i = 0; i < n; i += 16) {
    const int lanes = n - i < 16 ? static_cast<int>(n - i) : 16;
    const F centred = S::Sub(S::LoadFirst(x + i, lanes), mean);
    const F scaled = S::Mul(S::Mul(centred, inverse), S::LoadFirst(weight + i, lanes));
    S::StoreFirst(out + i, S::Add(scaled, S::LoadFirst(bias + i, lanes)), lanes);
  }
}

template <typename S>
void AddScaled(float* x, const float* delta, float scale, int64_t n) {
  const typename S::F factor = S::Set1(scale);
  for (int64_t i = 0; i < n; i += 16) {
    const int lanes = n - i < 16 ? static_cast<int>(n - i) : 16;
    S::StoreFirst(x + i, S::Fma(S::LoadFirst(delta + i, lanes), factor, S::LoadFirst(x + i, lanes)),
                  lanes);
  }
}

template <typename S>
void Add(float* x, const float* delta, int64_t n) {
  int64_t i = 0;
  for (; i + 16 <= n; i += 16) S::Store(x + i, S::Add(S::Load(x + i), S::Load(delta + i)));
  if (i < n) {
    const int tail = static_cast<int>(n - i);
    S::StoreFirst(x + i, S::Add(S::LoadFirst(x + i, tail), S::LoadFirst(delta + i, tail)), tail);
  }
}

template <typename S>
void Quantize(const float* x, int64_t n, const QuantizedRows& out) {
  using F = typename S::F;
  const F magic = S::Set1(12582912.0f);
  for (int64_t b = 0; b < n / kQBlock; ++b) {
    const F halves[2] = {S::Load(x + b * kQBlock), S::Load(x + b * kQBlock + 16)};
    const float largest = S::ReduceMax(S::Max(S::Abs(halves[0]), S::Abs(halves[1])));
    const float scale = largest / 127.0f;
    // A block so small that its inverse scale overflows is zero.
    const F inverse = S::Set1(largest > 1e-30f ? 127.0f / largest : 0.0f);
    const int64_t at = b * out.stride;
    float sums[2];
    for (int h = 0; h < 2; ++h) {
      // Clamped before rounding, so that even an infinite activation gives a byte in range.
      F scaled = S::Mul(halves[h], inverse);
      scaled = S::Min(S::Max(scaled, S::Set1(-127.0f)), S::Set1(127.0f));
      const F rounded = S::Add(scaled, magic);
      S::StoreBytes(out.q + at * kQBlock + 16 * h, S::IntSub(S::AsInt(rounded), S::AsInt(magic)));
      sums[h] = S::ReduceAdd(S::Sub(rounded, magic));  // of small integers: exact
      out.minus128sum[2 * at + h] = -128 * static_cast<int32_t>(sums[h]);
    }
    out.scale[at] = scale;
    out.scaled_sum[at] = scale * (sums[0] + sums[1]);
  }
}

template <Activation kKind, typename S>
void ActivateRow(const float* gate, const float* up, int64_t n, float* out) {
  using F = typename S::F;
  // Without a gate, `up` is what is activated.
  const float* x = gate == nullptr ? up : gate;
  int64_t i = 0;
  for (; i + 16 <= n; i += 16) {
    F y = Activate<kKind, S>(S::Load(x + i));
    if (gate != nullptr) y = S::Mul(y, S::Load(up + i));
    S::Store(out + i, y);
  }
  if (i < n) {
    const int tail = static_cast<int>(n - i);
    F y = Activate<kKind, S>(S::LoadFirst(x + i, tail));
    if (gate != nullptr) y = S::Mul(y, S::LoadFirst(up + i, tail));
    S::StoreFirst(out + i, y, tail);
  }
}

template <typename S>
void ActivateAny(Activation kind, const float* gate, const float* up, int64_t n, float* out) {
  switch (kind) {
    case Activation::kSilu:
      return ActivateRow<Activation::kSilu, S>(gate, up, n, out);
    case Activation::kGeluTanh:
      return ActivateRow<Activation::kGeluTanh, S>(gate, up, n, out);
    case Activation::kGelu:
      return ActivateRow<Activation::kGelu, S>(gate, up, n, out);
  }
}

template <typename S>
void ScaleAndCap(float* x, int64_t n, float scale, float cap) {
  using F = typename S::F;
  const F factor = S::Set1(scale);
  int64_t i = 0;
  for (; i < n; i += 16) {
    const int lanes = n - i < 16 ? static_cast<int>(n - i) : 16;
    F y = S::Mul(S::LoadFirst(x + i, lanes), factor);
    if (cap > 0) y = SoftCap<S>(y, cap);
    S::StoreFirst(x + i, y, lanes);
  }
}

template <typename S>
void Softmax(float* x, int64_t n) {
  using F = typename S::F;
  const F lowest = S::Set1(-__builtin_inff());
  F most = lowest;
  for (int64_t i = 0; i < n; i += 16) {
    const int lanes = n - i < 16 ? static_cast<int>(n - i) : 16;
    most = S::Max(most, S::FirstLanes(lanes, S::LoadFirst(x + i, lanes), lowest));
  }
  const F shift = S::Set1(S::ReduceMax(most));
  F sums = S::Set1(0.0f);
  for (int64_t i = 0; i < n; i += 16) {
    const int lanes = n - i < 16 ? static_cast<int>(n - i) : 16;
    const F e = Exp<S>(S::Sub(S::LoadFirst(x + i, lanes), shift));
    sums = S::Add(sums, S::FirstLanes(lanes, e, S::Set1(0.0f)));
    S::StoreFirst(x + i, e, lanes);
  }
  const F total = S::Set1(S::ReduceAdd(sums));
  for (int64_t i = 0; i < n; i += 16) {
    const int lanes = n - i < 16 ? static_cast<int>(n - i) : 16;
    S::StoreFirst(x + i, S::Div(S::LoadFirst(x + i, lanes), total), lanes);
  }
}

template <typename S>
void Sigmoid(float* x, int64_t n) {
  using F = typename S::F;
  const F one = S::Set1(1.0f);
  for (int64_t i = 0; i < n; i += 16) {
    const int lanes = n - i < 16 ? static_cast<int>(n - i) : 16;
    const F e = Exp<S>(S::Sub(S::Set1(0.0f), S::LoadFirst(x + i, lanes)));
    S::StoreFirst(x + i, S::Div(one, S::Add(one, e)), lanes);
  }
}

// Normalises (unless `norm` is null) and rotates one head in place.
template <typename S>
void NormAndRotate(float* head, const float* norm, const RopeCacheArgs& args) {
  if (norm != nullptr) RmsNorm<S>(head, norm, args.head_dim, args.norm_eps, head);
  const int32_t pairs = args.rope_dim / 2;
  const float* cosines = args.cos_sin;
  const float* sines = args.cos_sin + pairs;
  const int32_t step = args.neighbours ? 2 : 1;
  const int32_t apart = args.neighbours ? 1 : pairs;
  float* x = head + args.rope_first;
  for (int32_t i = 0; i < pairs; ++i) {
    const float a = x[i * step];
    const float b = x[i * step + apart];
    x[i * step] = a * cosines[i] - b * sines[i];
    x[i * step + apart] = a * sines[i] + b * cosines[i];
  }
}

template <typename S, typename Kv>
void RopeCacheAs(const RopeCacheArgs& args) {
  using Element = typename Kv::Element;
  const int32_t dim = args.head_dim;
  for (int32_t h = 0; h < args.heads; ++h) {
    NormAndRotate<S>(args.q + static_cast<int64_t>(h) * dim, args.q_norm, args);
  }
  // Of one head, scales included: group g's lies at g * block_tokens.
  const auto scales = [&](uint8_t* page, int32_t head, int32_t elements) {
    const int64_t groups = (elements + kScaleGroup - 1) / kScaleGroup;
    return reinterpret_cast<uint16_t*>(page) + head * groups * args.block_tokens + args.offset;
  };
  float key[kMaxHeadDim];
  Element stored[kMaxHeadDim];
  const int32_t own = args.k_shared == nullptr ? dim : args.rope_first;
  for (int32_t h = 0; h < args.kv_heads; ++h) {
    const float* k = args.k + h * args.k_head_stride;
    for (int32_t i = 0; i < own; ++i) key[i] = k[i];
    for (int32_t i = own; i < dim; ++i) key[i] = args.k_shared[i - own];
    NormAndRotate<S>(key, args.k_norm, args);
    Kv::Store(key, dim, stored, scales(args.k_scales, h, dim), args.block_tokens);
    Element* to = reinterpret_cast<Element*>(args.k_block) +
                  static_cast<int64_t>(h) * dim * args.block_tokens + args.offset;
    for (int32_t i = 0; i < dim; ++i) to[static_cast<int64_t>(i) * args.block_tokens] = stored[i];
    to = reinterpret_cast<Element*>(args.v_block) +
         (static_cast<int64_t>(h) * args.block_tokens + args.offset) * args.v_dim;
    Kv::Store(args.v + h * args.v_head_stride, args.v_dim, to, scales(args.v_scales, h, args.v_dim),
              args.block_tokens);
  }
}

template <typename S>
void RopeCache(const RopeCacheArgs& args) {
  switch (args.kv) {
    case KvElement::kHalf:
      return RopeCacheAs<S, HalfKv<S>>(args);
    case KvElement::kBfloat:
      return RopeCacheAs<S, BfloatKv<S>>(args);
    case KvElement::kScaledByte:
      return RopeCacheAs<S, ScaledByteKv<S>>(args);
  }
}

}  // namespace weft::cpu
