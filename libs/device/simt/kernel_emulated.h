// kernel.h's half for the emulator. See kernel.h for what each name means.
#pragma once

#include <cstdint>
#include <functional>

#include "libs/device/simt/intrinsics.h"
#include "libs/device/simt/launch.h"
#include "libs/device/simt/machine.h"
#include "libs/device/simt/pointer.h"
#include "libs/device/simt/vector_types.h"
#define WEFT_UNROLL
#define WEFT_KERNEL(...) inline
#define WEFT_DEVICE inline __attribute__((always_inline))
#define WEFT_PARAMS
#define WEFT_SHARED(T, name, count)      \
  static const char name##_key = 0;      \
  const ::weft::gpu::SharedPtr<T> name = \
      ::weft::simt::StaticSharedArray<T>(&name##_key, static_cast<size_t>(count))
#define WEFT_DYNAMIC_SHARED(T, name) \
  const ::weft::gpu::SharedPtr<T> name = ::weft::simt::DynamicSharedArray<T>()

// NOLINTBEGIN(bugprone-macro-parentheses): CUDA's names for what only the running thread knows.
#define threadIdx (::weft::simt::Current().index)
#define blockIdx (::weft::simt::Current().block->index)
#define blockDim (::weft::simt::Current().block->grid.block_dim)
#define gridDim (::weft::simt::Current().block->grid.grid_dim)
// NOLINTEND(bugprone-macro-parentheses)

namespace weft::gpu {

template <typename T>
using GlobalPtr = simt::Ptr<T, simt::Space::kGlobal>;
template <typename T>
using SharedPtr = simt::Ptr<T, simt::Space::kShared>;

template <typename U, typename T, simt::Space kSpace>
simt::Ptr<U, kSpace> PtrCast(const simt::Ptr<T, kSpace>& p) {
  static_assert(std::is_const_v<U> || !std::is_const_v<T>);
  return {reinterpret_cast<U*>(p.address()), p.region()};
}

}  // namespace weft::gpu

namespace weft::simt {

template <typename T>
gpu::SharedPtr<T> StaticSharedArray(const char* key, size_t count) {
  Region* region = Current().block->StaticShared(key, count * sizeof(T));
  return {reinterpret_cast<T*>(region->data()), region};
}

template <typename T>
gpu::SharedPtr<T> DynamicSharedArray() {
  Region* region = Current().block->dynamic_shared.get();
  return {region == nullptr ? nullptr : reinterpret_cast<T*>(region->data()), region};
}

}  // namespace weft::simt
