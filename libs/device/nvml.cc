#include "libs/device/nvml.h"

#include <dlfcn.h>

#include "libs/base/status.h"
#include "libs/device/nvml_abi.h"

namespace weft {
namespace {

using nvml::DeviceRef;
using nvml::Memory;
using nvml::Result;
using nvml::Utilization;

constexpr int kTemperatureGpu = 0;
constexpr int kCorrected = 0;
constexpr int kUncorrected = 1;
constexpr int kVolatile = 0;
constexpr unsigned int kNameBytes = 96;
constexpr unsigned long long kPowerReasons = 0x4 | 0x80;  // software power cap, hardware brake
constexpr unsigned long long kHeatReasons = 0x8 | 0x20 | 0x40;  // slowdown, software and hardware

}  // namespace

struct Nvml::Library {
  void* handle = nullptr;
  bool started = false;
  Result (*init)() = nullptr;
  Result (*shutdown)() = nullptr;
  const char* (*error_string)(Result) = nullptr;
  Result (*count)(unsigned int*) = nullptr;
  Result (*by_bus_id)(const char*, DeviceRef*) = nullptr;
  Result (*name)(DeviceRef, char*, unsigned int) = nullptr;
  Result (*memory)(DeviceRef, Memory*) = nullptr;
  Result (*utilization)(DeviceRef, Utilization*) = nullptr;
  Result (*temperature)(DeviceRef, int, unsigned int*) = nullptr;
  Result (*power)(DeviceRef, unsigned int*) = nullptr;
  Result (*ecc)(DeviceRef, int, int, unsigned long long*) = nullptr;
  Result (*slow_reasons)(DeviceRef, unsigned long long*) = nullptr;

  ~Library() {
    if (started) shutdown();
    if (handle != nullptr) dlclose(handle);
  }

  template <typename F>
  absl::Status Find(F& function, const char* symbol) {
    function = reinterpret_cast<F>(dlsym(handle, symbol));
    if (function == nullptr) return Unavailable("the NVML library has no {}", symbol);
    return absl::OkStatus();
  }

  absl::Status FindAll() {
    WEFT_RETURN_IF_ERROR(Find(init, "nvmlInit_v2"));
    WEFT_RETURN_IF_ERROR(Find(shutdown, "nvmlShutdown"));
    WEFT_RETURN_IF_ERROR(Find(error_string, "nvmlErrorString"));
    WEFT_RETURN_IF_ERROR(Find(count, "nvmlDeviceGetCount_v2"));
    WEFT_RETURN_IF_ERROR(Find(by_bus_id, "nvmlDeviceGetHandleByPciBusId_v2"));
    WEFT_RETURN_IF_ERROR(Find(name, "nvmlDeviceGetName"));
    WEFT_RETURN_IF_ERROR(Find(memory, "nvmlDeviceGetMemoryInfo"));
    WEFT_RETURN_IF_ERROR(Find(utilization, "nvmlDeviceGetUtilizationRates"));
    WEFT_RETURN_IF_ERROR(Find(temperature, "nvmlDeviceGetTemperature"));
    WEFT_RETURN_IF_ERROR(Find(power, "nvmlDeviceGetPowerUsage"));
    WEFT_RETURN_IF_ERROR(Find(ecc, "nvmlDeviceGetTotalEccErrors"));
    // Drivers before 535 know the older name only.
    if (Find(slow_reasons, "nvmlDeviceGetCurrentClocksEventReasons").ok()) return absl::OkStatus();
    return Find(slow_reasons, "nvmlDeviceGetCurrentClocksThrottleReasons");
  }

  absl::Status Check(Result result, const char* what) const {
    if (result == 0) return absl::OkStatus();
    return Unavailable("{}: {}", what, error_string(result));
  }
};

Nvml::Nvml(std::unique_ptr<Library> library) : library_(std::move(library)) {}
Nvml::~Nvml() = default;

absl::StatusOr<std::unique_ptr<Nvml>> Nvml::Open(const std::string& path) {
  auto library = std::make_unique<Library>();
  library->handle = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (library->handle == nullptr) return Unavailable("NVML: {}", dlerror());
  WEFT_RETURN_IF_ERROR(library->FindAll());
  WEFT_RETURN_IF_ERROR(library->Check(library->init(), "nvmlInit_v2"));
  library->started = true;
  return std::unique_ptr<Nvml>(new Nvml(std::move(library)));
}

absl::StatusOr<int32_t> Nvml::DeviceCount() const {
  unsigned int count = 0;
  WEFT_RETURN_IF_ERROR(library_->Check(library_->count(&count), "nvmlDeviceGetCount_v2"));
  return static_cast<int32_t>(count);
}

absl::StatusOr<GpuStatus> Nvml::Read(const std::string& pci_bus_id) const {
  const Library& l = *library_;
  DeviceRef device = nullptr;
  WEFT_RETURN_IF_ERROR(
      l.Check(l.by_bus_id(pci_bus_id.c_str(), &device), "nvmlDeviceGetHandleByPciBusId_v2"));
  GpuStatus status;
  char name[kNameBytes] = {};
  WEFT_RETURN_IF_ERROR(l.Check(l.name(device, name, kNameBytes - 1), "nvmlDeviceGetName"));
  status.name = name;
  Memory memory = {};
  WEFT_RETURN_IF_ERROR(l.Check(l.memory(device, &memory), "nvmlDeviceGetMemoryInfo"));
  status.memory_total_bytes = memory.total;
  status.memory_used_bytes = memory.used;
  if (Utilization used = {}; l.utilization(device, &used) == 0) {
    status.busy = used.gpu / 100.0;
    status.memory_busy = used.memory / 100.0;
  }
  if (unsigned int degrees = 0; l.temperature(device, kTemperatureGpu, &degrees) == 0) {
    status.temperature_celsius = degrees;
  }
  if (unsigned int milliwatts = 0; l.power(device, &milliwatts) == 0) {
    status.power_watts = milliwatts / 1000.0;
  }
  if (unsigned long long errors = 0; l.ecc(device, kCorrected, kVolatile, &errors) == 0) {
    status.ecc_corrected = errors;
  }
  if (unsigned long long errors = 0; l.ecc(device, kUncorrected, kVolatile, &errors) == 0) {
    status.ecc_uncorrected = errors;
  }
  if (unsigned long long reasons = 0; l.slow_reasons(device, &reasons) == 0) {
    status.slowed_by_power = (reasons & kPowerReasons) != 0;
    status.slowed_by_heat = (reasons & kHeatReasons) != 0;
  }
  return status;
}

}  // namespace weft
