// What of NVIDIA's driver this machine has, for messages: nothing of it is linked.
#pragma once

#include <string>

namespace weft {

// "libcuda.so.1: cannot open shared object file …; NVML: libnvidia-ml.so.1: …", or the number of
// GPUs where both are there.
std::string DescribeGpuDriver();

}  // namespace weft
