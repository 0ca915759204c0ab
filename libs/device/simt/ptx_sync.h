// Twins of named barriers, scoped loads and stores, and what is neither copy nor matrix. See ptx.h.
#pragma once

#include <cmath>
#include <cstdint>

#include "libs/device/simt/kernel_emulated.h"

namespace weft::gpu {

inline void NamedBarrierSync(uint32_t id, uint32_t threads, simt::Here here = simt::Here()) {
  simt::Current().block->NamedBarrierArrive(id, threads, true, here.site);
}
inline void NamedBarrierArrive(uint32_t id, uint32_t threads, simt::Here here = simt::Here()) {
  simt::Current().block->NamedBarrierArrive(id, threads, false, here.site);
}

inline bool ElectOne(simt::Here here = simt::Here()) {
  const simt::WarpOperation op(~0u, "elect.sync", simt::Instruction::kVote, nullptr, 0, here.site);
  return simt::Current().lane == 0;
}

template <int kRegisters>
void IncreaseRegisters() {
  static_assert(kRegisters % 8 == 0 && kRegisters >= 24 && kRegisters <= 256);
}
template <int kRegisters>
void DecreaseRegisters() {
  static_assert(kRegisters % 8 == 0 && kRegisters >= 24 && kRegisters <= 256);
}

// A loop around LoadAcquire lets the other threads and blocks run.
uint32_t LoadAcquire(GlobalPtr<uint32_t> p, simt::Here here = simt::Here());
void StoreRelease(GlobalPtr<uint32_t> p, uint32_t value, simt::Here here = simt::Here());
uint32_t AddRelease(GlobalPtr<uint32_t> p, uint32_t value, simt::Here here = simt::Here());

// Exact where the GPU approximates (2^-22.5 relative for ex2, 2^-11 for tanh).
inline float Exp2Approx(float x) { return std::exp2(x); }
inline float TanhApprox(float x) { return std::tanh(x); }
inline float ReciprocalApprox(float x) { return 1.0f / x; }

// Launches run one after the other.
inline void DependencyWait() {}
inline void DependencyTrigger() {}

}  // namespace weft::gpu
