// What NVIDIA's management library says about a GPU. It comes with the driver and is loaded when it
// is first asked for (libnvidia-ml.so.1), so that nothing is linked to it.
// API: NVIDIA, "NVML API Reference Guide".
#pragma once

#include <absl/status/status.h>
#include <absl/status/statusor.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

namespace weft {

// A figure that a GPU does not have (ECC on a consumer card, say) is empty.
struct GpuStatus {
  std::string name;
  uint64_t memory_total_bytes = 0;
  uint64_t memory_used_bytes = 0;     // by all processes
  std::optional<double> busy;         // share of the last sample period with a kernel running, 0..1
  std::optional<double> memory_busy;  // likewise with memory being read or written
  std::optional<double> temperature_celsius;
  std::optional<double> power_watts;
  std::optional<uint64_t> ecc_corrected;  // since the driver was loaded
  std::optional<uint64_t> ecc_uncorrected;
  // Why the clocks are lower than they could be; all false when they are not.
  bool slowed_by_power = false;  // the board's own limit or an external brake
  bool slowed_by_heat = false;
};

// Thread safe.
class Nvml {
 public:
  // kUnavailable, with the loader's words, when the library is not there or does not start.
  static absl::StatusOr<std::unique_ptr<Nvml>> Open(
      const std::string& library = "libnvidia-ml.so.1");
  ~Nvml();
  Nvml(const Nvml&) = delete;
  Nvml& operator=(const Nvml&) = delete;

  absl::StatusOr<int32_t> DeviceCount() const;
  // `pci_bus_id` as in DeviceInfo ("0000:1b:00.0"): NVML numbers GPUs otherwise than CUDA does.
  absl::StatusOr<GpuStatus> Read(const std::string& pci_bus_id) const;

 private:
  struct Library;
  explicit Nvml(std::unique_ptr<Library> library);
  std::unique_ptr<Library> library_;
};

}  // namespace weft
