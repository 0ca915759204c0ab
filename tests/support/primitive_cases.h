// One small kernel for each primitive of libs/device/ptx.h, with the result that the documented
// layouts give. tests/unit/simt runs them in the emulator, tests/gpu/primitives.cu the same list on
// a GPU.
#pragma once

#include "tests/support/primitive_case.h"
#include "tests/support/primitive_copies.h"
#include "tests/support/primitive_matrices.h"
#include "tests/support/primitive_warps.h"
#include "tests/support/primitive_wgmma.h"

namespace weft::gpu {

// Every case. sm_90a is needed for the last ones.
inline std::vector<PrimitiveCase> PrimitiveCases() {
  namespace p = primitive;
  TensorMapShape none;
  TensorMapShape wide;  // 24 rows of 64 bf16, in tiles of 32 rows
  wide.size[0] = 64;
  wide.size[1] = 24;
  wide.stride_bytes[1] = 128;
  wide.box[0] = 64;
  wide.box[1] = 32;
  wide.swizzle = Swizzle::k128;
  TensorMapShape narrow = wide;  // 48 rows of 32 bf16, in tiles of 64 rows
  narrow.size[0] = 32;
  narrow.size[1] = 48;
  narrow.stride_bytes[1] = 64;
  narrow.box[0] = 32;
  narrow.box[1] = 64;
  narrow.swizzle = Swizzle::k64;
  TensorMapShape thin = wide;  // 96 rows of 16 bf16, in tiles of 128 rows
  thin.size[0] = 16;
  thin.size[1] = 96;
  thin.stride_bytes[1] = 32;
  thin.box[0] = 16;
  thin.box[1] = 128;
  thin.swizzle = Swizzle::k32;
  TensorMapShape bytes;  // 128 rows of 128 bytes, in tiles of 64 rows
  bytes.type = TensorType::kU8;
  bytes.size[0] = 128;
  bytes.size[1] = 128;
  bytes.stride_bytes[1] = 128;
  bytes.box[0] = 128;
  bytes.box[1] = 64;
  bytes.swizzle = Swizzle::k128;
  return {
      {"ldmatrix", p::LoadMatrixKernel<false>, 32, 512, 128, 128, p::RandomWords,
       p::ExpectLoadMatrix<false>, false, none},
      {"ldmatrix.trans", p::LoadMatrixKernel<true>, 32, 512, 128, 128, p::RandomWords,
       p::ExpectLoadMatrix<true>, false, none},
      {"stmatrix", p::StoreMatrixKernel<false>, 32, 512, 128, 128, p::RandomWords,
       p::ExpectStoreMatrix<false>, false, none},
      {"stmatrix.trans", p::StoreMatrixKernel<true>, 32, 512, 128, 128, p::RandomWords,
       p::ExpectStoreMatrix<true>, false, none},
      {"mma.bf16", p::MmaKernel<Bf16>, 32, 0, 192, 128, p::SmallNumbers<Bf16>, p::ExpectMma<Bf16>,
       false, none},
      {"mma.f16", p::MmaKernel<Half>, 32, 0, 192, 128, p::SmallNumbers<Half>, p::ExpectMma<Half>,
       false, none},
      {"mma.e4m3", p::MmaKernel<E4m3>, 32, 0, 192, 128, p::SmallNumbers<E4m3>, p::ExpectMma<E4m3>,
       false, none},
      {"mma.s8", p::MmaKernel<int8_t>, 32, 0, 192, 128, p::SmallNumbers<int8_t>,
       p::ExpectMma<int8_t>, false, none},
      {"cp.async", p::CopyAsyncKernel, 32, 1408, 352, 352, p::RandomWords, p::ExpectCopyAsync,
       false, none},
      {"shuffles and votes", p::ShuffleKernel, 32, 0, 32, 384, p::RandomWords, p::ExpectShuffle,
       false, none},
      {"conversions", p::ConversionKernel, 256, 0, 256, 1792, p::ConversionInput,
       p::ExpectConversion, false, none},
      {"named barriers", p::NamedBarrierKernel, 64, 0, 128, 128, p::RandomWords,
       p::ExpectNamedBarrier, false, none},
      {"mbarrier and bulk copies", p::BulkKernel, 64, 1024, 512, 512, p::RandomWords, p::ExpectBulk,
       false, none},
      {"TMA load, 128-byte swizzle", p::TensorLoadKernel, 64, 4096, 768, 1024, p::RandomWords,
       p::ExpectTensorLoad<Swizzle::k128, 32>, true, wide},
      {"TMA load, 64-byte swizzle", p::TensorLoadKernel, 64, 4096, 768, 1024, p::RandomWords,
       p::ExpectTensorLoad<Swizzle::k64, 16>, true, narrow},
      {"TMA load, 32-byte swizzle", p::TensorLoadKernel, 64, 4096, 768, 1024, p::RandomWords,
       p::ExpectTensorLoad<Swizzle::k32, 8>, true, thin},
      {"TMA store, 128-byte swizzle", p::TensorStoreKernel, 64, 4096, 768, 768, p::RandomWords,
       p::ExpectSame, true, wide},
      {"wgmma.bf16", p::WgmmaKernel<Bf16, false, false>, 128, 16384, 4096, 4096,
       p::SmallNumbers<Bf16>, p::ExpectWgmma<Bf16, false>, true, bytes},
      {"wgmma.f16, B N-major", p::WgmmaKernel<Half, true, false>, 128, 16384, 4096, 4096,
       p::SmallNumbers<Half>, p::ExpectWgmma<Half, true>, true, bytes},
      {"wgmma.e4m3", p::WgmmaKernel<E4m3, false, false>, 128, 16384, 4096, 4096,
       p::SmallNumbers<E4m3>, p::ExpectWgmma<E4m3, false>, true, bytes},
      {"wgmma.s8", p::WgmmaKernel<int8_t, false, false>, 128, 16384, 4096, 4096,
       p::SmallNumbers<int8_t>, p::ExpectWgmma<int8_t, false>, true, bytes},
      {"wgmma.bf16, A in registers, B N-major", p::WgmmaKernel<Bf16, true, true>, 128, 16384, 4096,
       4096, p::SmallNumbers<Bf16>, p::ExpectWgmma<Bf16, true>, true, bytes},
      {"wgmma.s8, A in registers", p::WgmmaKernel<int8_t, false, true>, 128, 16384, 4096, 4096,
       p::SmallNumbers<int8_t>, p::ExpectWgmma<int8_t, false>, true, bytes},
  };
}

}  // namespace weft::gpu
