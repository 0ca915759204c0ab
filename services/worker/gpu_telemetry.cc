#include "services/worker/gpu_telemetry.h"

#include <limits>
#include <utility>

namespace weft::worker {
namespace {

template <typename T>
double OrNan(const std::optional<T>& value) {
  return value ? static_cast<double>(*value) : std::numeric_limits<double>::quiet_NaN();
}

}  // namespace

GpuTelemetry::GpuTelemetry(telemetry::Registry& metrics, std::unique_ptr<Nvml> nvml,
                           std::string pci_bus_id, const Clock& clock)
    : metrics_(metrics), nvml_(std::move(nvml)), pci_bus_id_(std::move(pci_bus_id)), clock_(clock) {
  using Labels = telemetry::Registry::Labels;
  const auto labels = [this](Labels more) {
    more.insert(more.begin(), {"gpu", pci_bus_id_});
    return more;
  };
  const auto gauge = [&](const char* name, const char* help, auto value) {
    watches_.push_back(
        metrics_.WatchGauge(name, help, labels({}), [this, value] { return value(Read()); }));
  };
  gauge("weft_gpu_memory_total_bytes", "Memory of the GPU.",
        [](const GpuStatus& s) { return static_cast<double>(s.memory_total_bytes); });
  gauge("weft_gpu_memory_used_bytes", "Memory of the GPU in use by all processes.",
        [](const GpuStatus& s) { return static_cast<double>(s.memory_used_bytes); });
  gauge("weft_gpu_busy_ratio", "Part of the last sample period with a kernel running.",
        [](const GpuStatus& s) { return OrNan(s.busy); });
  gauge("weft_gpu_memory_busy_ratio", "Part of the last sample period with memory in use.",
        [](const GpuStatus& s) { return OrNan(s.memory_busy); });
  gauge("weft_gpu_temperature_celsius", "Temperature of the GPU.",
        [](const GpuStatus& s) { return OrNan(s.temperature_celsius); });
  gauge("weft_gpu_power_watts", "Power that the board draws.",
        [](const GpuStatus& s) { return OrNan(s.power_watts); });
  const auto counted = [&](const char* kind, auto value) {
    watches_.push_back(metrics_.WatchCounter(
        "weft_gpu_ecc_errors_total", "Memory errors since the driver was loaded.",
        labels({{"kind", kind}}), [this, value] { return value(Read()); }));
  };
  counted("corrected", [](const GpuStatus& s) { return OrNan(s.ecc_corrected); });
  counted("uncorrected", [](const GpuStatus& s) { return OrNan(s.ecc_uncorrected); });
  const auto slowed = [&](const char* reason, auto value) {
    watches_.push_back(metrics_.WatchGauge(
        "weft_gpu_slowed", "1 while the clocks are lower than they could be.",
        labels({{"reason", reason}}), [this, value] { return value(Read()) ? 1.0 : 0.0; }));
  };
  slowed("power", [](const GpuStatus& s) { return s.slowed_by_power; });
  slowed("heat", [](const GpuStatus& s) { return s.slowed_by_heat; });
}

GpuTelemetry::~GpuTelemetry() {
  for (const int handle : watches_) metrics_.Unwatch(handle);
}

GpuStatus GpuTelemetry::Read() {
  constexpr std::chrono::seconds kFresh{1};
  std::lock_guard lock(mutex_);
  const SteadyTime now = clock_.Now();
  if (asked_ && now - asked_at_ < kFresh) return latest_;
  asked_ = true;
  asked_at_ = now;
  // A GPU that fell off the bus says nothing any more: better no figure than an old one.
  latest_ = nvml_->Read(pci_bus_id_).value_or(GpuStatus{});
  return latest_;
}

}  // namespace weft::worker
