#include "services/worker/gpu_telemetry.h"

#include "tests/support/catch.h"

namespace weft::worker {
namespace {

TEST_CASE("What the driver says of a GPU is at /metrics, what it does not say is no number",
          "[worker]") {
  telemetry::Registry metrics;
  {
    const GpuTelemetry gpu(metrics, Nvml::Open(WEFT_NVML_STAND_IN).value(), "0000:1b:00.0");
    const std::string text = metrics.Expose();
    CHECK_THAT(text, ContainsSubstring("weft_gpu_memory_used_bytes{gpu=\"0000:1b:00.0\"} 600"));
    CHECK_THAT(text, ContainsSubstring("weft_gpu_busy_ratio{gpu=\"0000:1b:00.0\"} 0.75"));
    CHECK_THAT(text, ContainsSubstring("weft_gpu_power_watts{gpu=\"0000:1b:00.0\"} 512.5"));
    CHECK_THAT(text, ContainsSubstring("kind=\"corrected\"} Nan"));
    CHECK_THAT(text, ContainsSubstring("reason=\"power\"} 1"));
    CHECK_THAT(text, ContainsSubstring("reason=\"heat\"} 0"));
  }
  CHECK_THAT(metrics.Expose(), !ContainsSubstring("weft_gpu_"));
}

TEST_CASE("A GPU that the driver does not know has no figures", "[worker]") {
  telemetry::Registry metrics;
  const GpuTelemetry gpu(metrics, Nvml::Open(WEFT_NVML_STAND_IN).value(), "0000:00:00.0");
  CHECK_THAT(metrics.Expose(), ContainsSubstring("weft_gpu_power_watts{gpu=\"0000:00:00.0\"} Nan"));
}

}  // namespace
}  // namespace weft::worker
