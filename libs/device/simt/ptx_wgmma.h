// Twins of wgmma and its shared-memory descriptors. See ptx.h for the contracts.
#pragma once

#include <cstdint>

#include "libs/device/simt/kernel_emulated.h"
#include "libs/device/tensor_map.h"

namespace weft::simt {

enum class WgmmaType : uint8_t { kBf16, kHalf, kE4m3, kS8 };

// The widths that wgmma_cuda.h has.
constexpr bool IsWgmmaWidth(int n) {
  return n == 8 || n == 16 || n == 24 || n == 32 || n == 48 || n == 64 || n == 80 || n == 96 ||
         n == 128 || n == 160 || n == 192 || n == 256;
}

struct WgmmaCall {
  WgmmaType type;
  int n = 0;
  bool trans_a = false;  // M-major
  bool trans_b = false;  // N-major
  bool accumulate = false;
  const uint32_t* a_registers = nullptr;  // 4, or null: descriptor_a
  uint64_t descriptor_a = 0;
  uint64_t descriptor_b = 0;
  void* d = nullptr;  // n / 2 float or int32_t
};

void StartWgmma(const WgmmaCall& call, Site site);
void FenceWgmma();
void CommitWgmma();
void WaitWgmma(size_t left);
uint64_t DescribeTile(const unsigned char* address, const Region* region, uint32_t leading_bytes,
                      uint32_t stride_bytes, gpu::Swizzle swizzle, Site site);

}  // namespace weft::simt

namespace weft::gpu {

template <typename T>
uint64_t MakeDescriptor(SharedPtr<T> tile, uint32_t leading_bytes, uint32_t stride_bytes,
                        Swizzle swizzle, simt::Here here = simt::Here()) {
  return simt::DescribeTile(reinterpret_cast<const unsigned char*>(tile.address()), tile.region(),
                            leading_bytes, stride_bytes, swizzle, here.site);
}

inline void WgmmaFence() { simt::FenceWgmma(); }
inline void WgmmaCommit() { simt::CommitWgmma(); }
template <int kLeft>
void WgmmaWait() {
  simt::WaitWgmma(kLeft);
}

#define WEFT_WGMMA(name, T, kind)                                                                \
  template <int N, bool kTransA = false, bool kTransB = false>                                   \
  void name(T(&d)[N / 2], uint64_t a, uint64_t b, bool accumulate,                               \
            simt::Here here = simt::Here()) {                                                    \
    static_assert(simt::IsWgmmaWidth(N));                                                        \
    simt::StartWgmma({simt::WgmmaType::kind, N, kTransA, kTransB, accumulate, nullptr, a, b, d}, \
                     here.site);                                                                 \
  }                                                                                              \
  template <int N, bool kTransB = false>                                                         \
  void name(T(&d)[N / 2], const uint32_t(&a)[4], uint64_t b, bool accumulate,                    \
            simt::Here here = simt::Here()) {                                                    \
    static_assert(simt::IsWgmmaWidth(N));                                                        \
    simt::StartWgmma({simt::WgmmaType::kind, N, false, kTransB, accumulate, a, 0, b, d},         \
                     here.site);                                                                 \
  }
WEFT_WGMMA(WgmmaBf16, float, kBf16)
WEFT_WGMMA(WgmmaHalf, float, kHalf)
WEFT_WGMMA(WgmmaE4m3, float, kE4m3)
WEFT_WGMMA(WgmmaS8, int32_t, kS8)
#undef WEFT_WGMMA

}  // namespace weft::gpu
