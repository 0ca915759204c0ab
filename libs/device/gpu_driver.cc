#include "libs/device/gpu_driver.h"

#include <dlfcn.h>

#include "libs/base/status.h"
#include "libs/device/nvml.h"

namespace weft {
namespace {

std::string DescribeNvml() {
  absl::StatusOr<std::unique_ptr<Nvml>> nvml = Nvml::Open();
  if (!nvml.ok()) return std::string(Message(nvml.status()));
  const absl::StatusOr<int32_t> count = (*nvml)->DeviceCount();
  if (!count.ok()) return std::string(Message(count.status()));
  return fmt::format("NVML: {} GPUs", *count);
}

std::string DescribeCuda() {
  void* library = dlopen("libcuda.so.1", RTLD_LAZY | RTLD_LOCAL);
  if (library == nullptr) return dlerror();
  dlclose(library);
  return "libcuda.so.1: there";
}

}  // namespace

std::string DescribeGpuDriver() { return fmt::format("{}; {}", DescribeCuda(), DescribeNvml()); }

}  // namespace weft
