// Attention whose K and V are converted to floats once for all rows of a task, instead of in each
// pass that reads them. Included only by variants_*.cc.
#pragma once

#include <cstdint>
#include <vector>

#include "libs/ops/attention_kernels.h"

namespace weft::bench {

template <typename S>
struct FloatKv {
  using F = typename S::F;
  using Element = float;
  static constexpr bool kScaled = false;
  static F Load(const Element* p) { return S::Load(p); }
};

// For args of halves whose pages lie one behind the other, K and V of one size.
template <typename S>
void ConvertingAttention(cpu::AttentionArgs args) {
  const int64_t tokens = args.first_position + args.rows;
  const int64_t elements =
      (tokens + args.block_tokens - 1) / args.block_tokens * args.block_tokens * args.head_dim;
  static thread_local std::vector<float> k, v;
  k.resize(static_cast<size_t>(elements));
  v.resize(static_cast<size_t>(elements));
  const auto* k_halves = reinterpret_cast<const uint16_t*>(args.k_cache);
  const auto* v_halves = reinterpret_cast<const uint16_t*>(args.v_cache);
  for (int64_t i = 0; i < elements; i += 16) {
    S::Store(k.data() + i, S::LoadHalf(k_halves + i));
    S::Store(v.data() + i, S::LoadHalf(v_halves + i));
  }
  args.k_cache = reinterpret_cast<const uint8_t*>(k.data());
  args.v_cache = reinterpret_cast<const uint8_t*>(v.data());
  args.k_page_stride *= 2;
  args.v_page_stride *= 2;
  cpu::AttentionOver<S, FloatKv<S>>::Run(args);
}

}  // namespace weft::bench
