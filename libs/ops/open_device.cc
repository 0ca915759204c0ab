#include "libs/ops/open_device.h"

#include <charconv>

#include "libs/base/status.h"
#include "libs/device/gpu_driver.h"
#ifdef WEFT_CUDA
#include <cstdlib>
#include <filesystem>

#include "libs/device/cuda_device.h"
#include "libs/ops/cublas_lt.h"
#include "libs/ops/gpu_context.h"
#endif

namespace weft {
namespace {

// The number of a GPU; -1: the host.
absl::StatusOr<int32_t> Ordinal(std::string_view name) {
  if (name == "cpu") return -1;
  if (name == "cuda") return 0;
  int32_t ordinal = -1;
  if (name.starts_with("cuda:")) {
    const std::string_view digits = name.substr(5);
    const auto [end, error] =
        std::from_chars(digits.data(), digits.data() + digits.size(), ordinal);
    if (error == std::errc() && end == digits.data() + digits.size() && ordinal >= 0) {
      return ordinal;
    }
  }
  return InvalidArgument("device: expected cpu, cuda or cuda:N, found {}", name);
}

#ifdef WEFT_CUDA
// Where timed choices of products are kept: of this user, like other caches. Empty without a home.
std::string ProductCache() {
  const char* cache = std::getenv("XDG_CACHE_HOME");
  const char* home = std::getenv("HOME");
  std::string folder;
  if (cache != nullptr && *cache != 0) {
    folder = cache;
  } else if (home != nullptr && *home != 0) {
    folder = std::string(home) + "/.cache";
  } else {
    return "";
  }
  folder += "/weft";
  std::error_code error;
  std::filesystem::create_directories(folder, error);
  return error ? "" : folder + "/products";
}

absl::StatusOr<std::shared_ptr<OpDevice>> OpenCuda(int32_t ordinal, gpu::Numerics numerics) {
  WEFT_ASSIGN_OR_RETURN(std::unique_ptr<Device> device, OpenCudaDevice(ordinal));
  WEFT_ASSIGN_OR_RETURN(std::shared_ptr<GpuContext> context,
                        GpuContext::Create(std::move(device), numerics));
  if (numerics == gpu::Numerics::kFast) {
    // Without cuBLASLt the own kernels compute everything.
    absl::StatusOr<std::unique_ptr<gpu::ProductLibrary>> library =
        gpu::OpenCublasLt(context->device());
    if (library.ok()) context->UseLibrary(*std::move(library), {.cache_path = ProductCache()});
  }
  return std::shared_ptr<OpDevice>(std::move(context));
}
#else
absl::StatusOr<std::shared_ptr<OpDevice>> OpenCuda(int32_t, gpu::Numerics) {
  return Unavailable("this build has no CUDA engine (./weft build --cuda makes one)");
}
#endif

}  // namespace

absl::Status CheckDeviceName(std::string_view name) { return Ordinal(name).status(); }

absl::StatusOr<std::shared_ptr<OpDevice>> OpenOpDevice(std::string_view name,
                                                       gpu::Numerics numerics) {
  WEFT_ASSIGN_OR_RETURN(const int32_t ordinal, Ordinal(name));
  if (ordinal < 0) return std::shared_ptr<OpDevice>();
  auto device = OpenCuda(ordinal, numerics);
  if (device.ok() || !absl::IsUnavailable(device.status())) return device;
  return Unavailable("device {}: {}. Looked for the driver: {}", name, Message(device.status()),
                     DescribeGpuDriver());
}

}  // namespace weft
