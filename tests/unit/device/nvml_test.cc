#include "libs/device/nvml.h"

#include "libs/base/status.h"
#include "tests/support/catch.h"

namespace weft {
namespace {

TEST_CASE("NVML that is not there is unavailable, and the message names the library", "[nvml]") {
  const auto nvml = Nvml::Open("libno-such-nvml.so.1");
  REQUIRE(absl::IsUnavailable(nvml.status()));
  REQUIRE_THAT(ToString(nvml.status()), ContainsSubstring("libno-such-nvml.so.1"));
}

TEST_CASE("A library without NVML's functions is refused by the name of the first", "[nvml]") {
  const auto nvml = Nvml::Open("libm.so.6");
  REQUIRE(absl::IsUnavailable(nvml.status()));
  REQUIRE_THAT(ToString(nvml.status()), ContainsSubstring("nvmlInit_v2"));
}

TEST_CASE("NVML's figures arrive in base units, and what a card lacks stays empty", "[nvml]") {
  const auto nvml = Nvml::Open(WEFT_NVML_STAND_IN).value();
  REQUIRE(nvml->DeviceCount().value() == 1);
  const GpuStatus status = nvml->Read("0000:1b:00.0").value();
  REQUIRE(status.name == "Stand-in GPU");
  REQUIRE(status.memory_total_bytes == 1000);
  REQUIRE(status.memory_used_bytes == 600);
  REQUIRE(status.busy == 0.75);
  REQUIRE(status.memory_busy == 0.5);
  REQUIRE(status.temperature_celsius == 61.0);
  REQUIRE(status.power_watts == 512.5);
  REQUIRE_FALSE(status.ecc_corrected.has_value());
  REQUIRE_FALSE(status.ecc_uncorrected.has_value());
  REQUIRE(status.slowed_by_power);
  REQUIRE_FALSE(status.slowed_by_heat);
}

TEST_CASE("A GPU that NVML does not know is an error with NVML's words", "[nvml]") {
  const auto nvml = Nvml::Open(WEFT_NVML_STAND_IN).value();
  REQUIRE_THAT(ToString(nvml->Read("0000:00:00.0").status()), ContainsSubstring("Not Found"));
}

}  // namespace
}  // namespace weft
