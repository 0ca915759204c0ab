// NVML's own types, as its reference guide gives them; only what nvml.cc calls is here.
#pragma once

namespace weft::nvml {

using Result = int;  // 0: success
struct Device;
using DeviceRef = Device*;

struct Memory {
  unsigned long long total, free, used;  // bytes
};

struct Utilization {
  unsigned int gpu, memory;  // percent
};

}  // namespace weft::nvml
