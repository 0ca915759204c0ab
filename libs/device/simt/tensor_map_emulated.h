// Tensor maps for the emulator: the shape itself.
#pragma once

#include "libs/device/simt/memory.h"

namespace weft::gpu {

struct alignas(64) TensorMap {
  TensorMapShape shape;
  unsigned char* address = nullptr;
  simt::Region* region = nullptr;
};

// Null, or what is wrong.
inline const char* MakeTensorMap(const TensorMapShape& shape, const void* address, TensorMap* map) {
  if (const char* error = InvalidTensorMap(shape, reinterpret_cast<uint64_t>(address))) {
    return error;
  }
  map->shape = shape;
  map->address = static_cast<unsigned char*>(const_cast<void*>(address));
  map->region = simt::FindRegion(address);
  return map->region == nullptr ? "the address is in no device allocation" : nullptr;
}

}  // namespace weft::gpu
