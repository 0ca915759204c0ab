// Functions of 16 lanes, the same bits for every Simd type. Included only by kernels_*.cc.
#pragma once

#include <cstdint>

#include "libs/ops/op_kinds.h"

namespace weft::cpu {

// e^x with a relative error below 2^-22 for x in [-87.3, 88.3]; clamped outside. Cody-Waite
// reduction by ln 2, then the degree-7 Taylor polynomial on [-ln2/2, ln2/2].
template <typename S>
inline typename S::F Exp(typename S::F x) {
  using F = typename S::F;
  // The operand order makes NaN the lower bound on every machine.
  x = S::Max(x, S::Set1(-87.3f));
  x = S::Min(x, S::Set1(88.3f));
  const F magic = S::Set1(12582912.0f);  // 1.5 * 2^23: adding it rounds to an integer
  const F shifted = S::Fma(x, S::Set1(1.44269504088896341f), magic);
  const F n = S::Sub(shifted, magic);
  F r = S::Fma(n, S::Set1(-0.693359375f), x);
  r = S::Fma(n, S::Set1(2.12194440e-4f), r);
  F p = S::Set1(1.9841270e-4f);
  p = S::Fma(p, r, S::Set1(1.3888889e-3f));
  p = S::Fma(p, r, S::Set1(8.3333333e-3f));
  p = S::Fma(p, r, S::Set1(4.1666667e-2f));
  p = S::Fma(p, r, S::Set1(1.6666667e-1f));
  p = S::Fma(p, r, S::Set1(0.5f));
  p = S::Fma(p, r, S::Set1(1.0f));
  p = S::Fma(p, r, S::Set1(1.0f));
  const typename S::I exponent = S::IntSub(S::AsInt(shifted), S::AsInt(magic));
  return S::AsFloat(S::IntAdd(S::AsInt(p), S::ShiftToExponent(exponent)));
}

// x / (1 + e^-x)
template <typename S>
inline typename S::F Silu(typename S::F x) {
  const typename S::F e = Exp<S>(S::Sub(S::Set1(0.0f), x));
  return S::Div(x, S::Add(S::Set1(1.0f), e));
}

// The tanh form of GELU, as x / (1 + e^-2y): 0.5 (1 + tanh y) is the logistic function of 2y.
template <typename S>
inline typename S::F GeluTanh(typename S::F x) {
  using F = typename S::F;
  const F cubed = S::Mul(S::Mul(x, x), x);
  const F inner = S::Fma(S::Set1(0.044715f), cubed, x);
  const F e = Exp<S>(S::Mul(S::Set1(-1.5957691216057308f), inner));  // -2 sqrt(2 / pi)
  return S::Div(x, S::Add(S::Set1(1.0f), e));
}

// x times the normal distribution function. 1 - erf by Abramowitz and Stegun 7.1.26, whose error
// is below 1.5e-7.
template <typename S>
inline typename S::F Gelu(typename S::F x) {
  using F = typename S::F;
  const F one = S::Set1(1.0f);
  const F z = S::Mul(S::Abs(x), S::Set1(0.70710678118654752f));
  const F t = S::Div(one, S::Fma(S::Set1(0.3275911f), z, one));
  F p = S::Set1(1.061405429f);
  p = S::Fma(p, t, S::Set1(-1.453152027f));
  p = S::Fma(p, t, S::Set1(1.421413741f));
  p = S::Fma(p, t, S::Set1(-0.284496736f));
  p = S::Fma(p, t, S::Set1(0.254829592f));
  const F e = Exp<S>(S::Sub(S::Set1(0.0f), S::Mul(z, z)));
  const F tail = S::Mul(S::Mul(S::Mul(p, t), e), S::Set1(0.5f));  // of |x|
  // x * (1 - tail) for x > 0, x * tail below: max(x, 0) - |x| * tail.
  return S::Sub(S::Max(x, S::Set1(0.0f)), S::Mul(S::Abs(x), tail));
}

template <Activation kKind, typename S>
inline typename S::F Activate(typename S::F x) {
  if constexpr (kKind == Activation::kSilu) return Silu<S>(x);
  if constexpr (kKind == Activation::kGeluTanh) return GeluTanh<S>(x);
  if constexpr (kKind == Activation::kGelu) return Gelu<S>(x);
}

// tanh(x), with an absolute error below 2^-22.
template <typename S>
inline typename S::F Tanh(typename S::F x) {
  const typename S::F e = Exp<S>(S::Add(x, x));
  return S::Sub(S::Set1(1.0f), S::Div(S::Set1(2.0f), S::Add(e, S::Set1(1.0f))));
}

// cap * tanh(x / cap)
template <typename S>
inline typename S::F SoftCap(typename S::F x, float cap) {
  return S::Mul(S::Set1(cap), Tanh<S>(S::Div(x, S::Set1(cap))));
}

}  // namespace weft::cpu
