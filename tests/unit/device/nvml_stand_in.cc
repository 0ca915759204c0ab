// A library with NVML's functions for one GPU, built as libnvml_stand_in.so: what nvml_test.cc
// opens where there is no driver. It has no ECC, as consumer cards do not.
#include <cstring>

#include "libs/device/nvml_abi.h"

using weft::nvml::DeviceRef;
using weft::nvml::Memory;
using weft::nvml::Utilization;

extern "C" {
static int device;

int nvmlInit_v2() { return 0; }
int nvmlShutdown() { return 0; }
const char* nvmlErrorString(int result) { return result == 6 ? "Not Found" : "Not Supported"; }
int nvmlDeviceGetCount_v2(unsigned int* count) {
  *count = 1;
  return 0;
}
int nvmlDeviceGetHandleByPciBusId_v2(const char* id, DeviceRef* handle) {
  if (std::strcmp(id, "0000:1b:00.0") != 0) return 6;
  *handle = reinterpret_cast<DeviceRef>(&device);
  return 0;
}
int nvmlDeviceGetName(DeviceRef, char* name, unsigned int bytes) {
  std::strncpy(name, "Stand-in GPU", bytes);
  return 0;
}
int nvmlDeviceGetMemoryInfo(DeviceRef, Memory* memory) {
  *memory = {1000, 400, 600};
  return 0;
}
int nvmlDeviceGetUtilizationRates(DeviceRef, Utilization* used) {
  *used = {75, 50};
  return 0;
}
int nvmlDeviceGetTemperature(DeviceRef, int, unsigned int* degrees) {
  *degrees = 61;
  return 0;
}
int nvmlDeviceGetPowerUsage(DeviceRef, unsigned int* milliwatts) {
  *milliwatts = 512500;
  return 0;
}
int nvmlDeviceGetTotalEccErrors(DeviceRef, int, int, unsigned long long*) { return 3; }
int nvmlDeviceGetCurrentClocksThrottleReasons(DeviceRef, unsigned long long* reasons) {
  *reasons = 0x4 | 0x1;  // power cap, idle
  return 0;
}
}
