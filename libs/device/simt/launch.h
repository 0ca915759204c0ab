// Running a kernel in the emulator, and the device memory that its tests give it.
#pragma once

#include <cstdint>
#include <cstring>
#include <string>
#include <utility>
#include <vector>

#include "libs/device/simt/machine.h"

namespace weft::simt {

// What launches of this thread use from now on, and what the latest one found.
Options& LaunchOptions();
LaunchReport& LastReport();

LaunchReport RunKernel(const char* name, gpu::dim3 grid, gpu::dim3 block, uint32_t shared_bytes,
                       std::function<void()> body);

// Registered global memory. What was not uploaded counts as never written.
template <typename T>
class Buffer {
 public:
  explicit Buffer(size_t count, std::string name = "buffer")
      : count_(count),
        region_(std::make_unique<Region>(Space::kGlobal, count * sizeof(T), std::move(name))) {}
  explicit Buffer(const std::vector<T>& values, std::string name = "buffer")
      : Buffer(values.size(), std::move(name)) {
    Upload(values);
  }

  size_t size() const { return count_; }
  T* data() const { return reinterpret_cast<T*>(region_->data()); }
  void Upload(const std::vector<T>& values) {
    std::memcpy(static_cast<void*>(data()), values.data(), values.size() * sizeof(T));
    region_->SetInitialised(0, values.size() * sizeof(T), true);
  }
  std::vector<T> Download() const { return std::vector<T>(data(), data() + count_); }
  // Every element was uploaded or written by a kernel.
  bool IsWritten() const { return region_->IsInitialised(0, region_->bytes()); }
  void Forget() { region_->SetInitialised(0, region_->bytes(), false); }

 private:
  size_t count_;
  std::unique_ptr<Region> region_;
};

}  // namespace weft::simt

namespace weft::gpu {

using DeviceStream = void*;  // launches are done when they return
enum class DeviceError { kOk = 0, kDefect = 1 };
constexpr DeviceError cudaSuccess = DeviceError::kOk;
const char* DescribeDeviceError(DeviceError error);

struct LaunchShape {
  dim3 grid;
  dim3 block;
  uint32_t shared_bytes = 0;  // dynamic
  const char* name = nullptr;
};

// Runs the kernel to its end. kDefect: simt::LastReport() says what was found.
template <typename... P, typename... A>
DeviceError Launch(void (*kernel)(P...), const LaunchShape& shape, DeviceStream,
                   const A&... arguments) {
  simt::LaunchReport& report = simt::LastReport();
  report = simt::RunKernel(shape.name, shape.grid, shape.block, shape.shared_bytes,
                           [&] { kernel(P(arguments)...); });
  return report.defects.empty() ? DeviceError::kOk : DeviceError::kDefect;
}

template <typename... P>
DeviceError AllowSharedBytes(void (*)(P...), uint32_t bytes) {
  return bytes <= simt::LaunchOptions().max_shared_bytes ? DeviceError::kOk : DeviceError::kDefect;
}

}  // namespace weft::gpu
