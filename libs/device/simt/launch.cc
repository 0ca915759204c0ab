#include "libs/device/simt/launch.h"

namespace weft::simt {

Options& LaunchOptions() {
  static thread_local Options options;
  return options;
}

LaunchReport& LastReport() {
  static thread_local LaunchReport report;
  return report;
}

LaunchReport RunKernel(const char* name, gpu::dim3 grid, gpu::dim3 block, uint32_t shared_bytes,
                       std::function<void()> body) {
  Grid machine(name, grid, block, shared_bytes, std::move(body), LaunchOptions());
  machine.Run();
  return std::move(machine.report);
}

}  // namespace weft::simt

namespace weft::gpu {

const char* DescribeDeviceError(DeviceError error) {
  return error == DeviceError::kOk ? "no error"
                                   : simt::LastReport().defects.front().message.c_str();
}

}  // namespace weft::gpu
