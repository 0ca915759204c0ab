#include "libs/device/emulated_device.h"
#include "libs/device/simt/launch.h"
#include "tests/unit/ops/gpu/rig.h"

namespace weft::test {

std::unique_ptr<Device> MakeTestDevice() { return std::make_unique<EmulatedDevice>(); }

void RequireCost(double coalesced, Conflictless conflictless) {
  const simt::LaunchReport& report = simt::LastReport();
  INFO(report.Text());
  REQUIRE(report.Coalescing() >= coalesced);
  for (const simt::SiteCounts& site : report.sites) {
    const bool loads = site.instruction == simt::Instruction::kSharedLoad ||
                       site.instruction == simt::Instruction::kLoadMatrix;
    if (loads || conflictless == Conflictless::kAll) REQUIRE(site.BankConflicts() == 0);
  }
}

}  // namespace weft::test
