// What the driver's management library says about a worker's GPU, at /metrics.
#pragma once

#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "libs/base/clock.h"
#include "libs/device/nvml.h"
#include "libs/telemetry/metrics.h"

namespace weft::worker {

// Asks at most once a second, when metrics are scraped. What a GPU does not say is NaN.
class GpuTelemetry {
 public:
  GpuTelemetry(telemetry::Registry& metrics, std::unique_ptr<Nvml> nvml, std::string pci_bus_id,
               const Clock& clock = Clock::Real());
  ~GpuTelemetry();
  GpuTelemetry(const GpuTelemetry&) = delete;
  GpuTelemetry& operator=(const GpuTelemetry&) = delete;

 private:
  GpuStatus Read();

  telemetry::Registry& metrics_;
  const std::unique_ptr<Nvml> nvml_;
  const std::string pci_bus_id_;
  const Clock& clock_;
  std::mutex mutex_;  // guards what follows
  GpuStatus latest_;
  bool asked_ = false;
  SteadyTime asked_at_;
  std::vector<int> watches_;
};

}  // namespace weft::worker
