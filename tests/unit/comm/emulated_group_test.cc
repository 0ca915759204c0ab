#include "libs/comm/emulated_group.h"

#include <mutex>
#include <thread>
#include <vector>

#include "libs/base/status.h"
#include "libs/comm/in_process.h"
#include "libs/device/emulated_device.h"
#include "tests/support/catch.h"

namespace weft::comm {
namespace {

TEST_CASE("Ranks on emulated devices meet when their streams are waited for", "[comm]") {
  const bool lazy = GENERATE(false, true);
  auto hosts = MakeInProcessGroup({.size = 2}).value();
  std::vector<std::vector<float>> got(2);
  std::vector<absl::Status> results(2);
  std::vector<std::thread> threads;
  for (size_t rank = 0; rank < 2; ++rank) {
    threads.emplace_back([&, rank] {
      results[rank] = [&]() -> absl::Status {
        EmulatedDevice device({.lazy = lazy});
        const auto group = MakeEmulatedGroup(std::move(hosts[rank]));
        const auto stream = MakeStream(device).value();
        const auto host = MakePinnedBuffer(device, 4 * sizeof(float)).value();
        const auto own = MakeDeviceBuffer(device, 2 * sizeof(float)).value();
        const auto all = MakeDeviceBuffer(device, 4 * sizeof(float)).value();
        auto* values = static_cast<float*>(host.get());
        auto* data = static_cast<float*>(own.get());
        auto* gathered = static_cast<float*>(all.get());
        values[0] = static_cast<float>(rank + 1), values[1] = 10;
        WEFT_RETURN_IF_ERROR(device.CopyAsync(data, values, 8, CopyKind::kToDevice, stream.get()));
        WEFT_RETURN_IF_ERROR(group->AllReduceSum(data, 2, stream.get()));
        WEFT_RETURN_IF_ERROR(group->AllGather(data, 2, gathered, stream.get()));
        WEFT_RETURN_IF_ERROR(
            device.CopyAsync(values, gathered, 16, CopyKind::kToHost, stream.get()));
        WEFT_RETURN_IF_ERROR(device.Synchronize(stream.get()));
        got[rank].assign(values, values + 4);
        return absl::OkStatus();
      }();
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (size_t rank = 0; rank < 2; ++rank) {
    INFO(ToString(results[rank]));
    CHECK(results[rank].ok());
    CHECK(got[rank] == std::vector<float>{3, 20, 3, 20});
  }
}

}  // namespace
}  // namespace weft::comm
