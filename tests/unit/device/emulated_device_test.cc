#include "libs/device/emulated_device.h"

#include <cstring>
#include <vector>

#include "libs/base/status.h"
#include "libs/device/device_arena.h"
#include "tests/support/catch.h"

namespace weft {
namespace {

struct Fixture {
  EmulatedDevice device{{.memory_bytes = 1 << 20}};
  Stream stream = MakeStream(device).value();
  PinnedBuffer pinned = MakePinnedBuffer(device, 64).value();
  DeviceBuffer memory = MakeDeviceBuffer(device, 64).value();
  uint8_t* host() { return static_cast<uint8_t*>(pinned.get()); }
};

TEST_CASE("Bytes go to the device and come back in the stream's order", "[device]") {
  Fixture f;
  std::memset(f.host(), 7, 64);
  REQUIRE(
      f.device.CopyAsync(f.memory.get(), f.host(), 64, CopyKind::kToDevice, f.stream.get()).ok());
  REQUIRE(f.device.FillAsync(f.memory.get(), 9, 8, f.stream.get()).ok());
  REQUIRE(f.device.CopyAsync(f.host(), f.memory.get(), 64, CopyKind::kToHost, f.stream.get()).ok());
  REQUIRE(f.device.Synchronize(f.stream.get()).ok());
  REQUIRE(f.host()[7] == 9);
  REQUIRE(f.host()[8] == 7);
}

TEST_CASE("A copy outside an allocation is an error that says which side", "[device]") {
  Fixture f;
  const auto copy = [&](void* to, const void* from, uint64_t bytes) {
    return ToString(f.device.CopyAsync(to, from, bytes, CopyKind::kToDevice, f.stream.get()));
  };
  REQUIRE_THAT(copy(f.memory.get(), f.host(), 65), ContainsSubstring("target of a copy: 65 bytes"));
  std::vector<uint8_t> unpinned(64);
  REQUIRE_THAT(copy(f.memory.get(), unpinned.data(), 64), ContainsSubstring("source of a copy"));
}

TEST_CASE("A copy to the host of bytes that nothing wrote is an error", "[device]") {
  Fixture f;
  REQUIRE(f.device.FillAsync(f.memory.get(), 0, 63, f.stream.get()).ok());
  REQUIRE(f.device.CopyAsync(f.host(), f.memory.get(), 64, CopyKind::kToHost, f.stream.get()).ok());
  REQUIRE(absl::IsDataLoss(f.device.Synchronize(f.stream.get())));
}

TEST_CASE("Device memory runs out with the numbers in the message", "[device]") {
  Fixture f;
  const auto more = f.device.Allocate(1 << 20);
  REQUIRE(absl::IsResourceExhausted(more.status()));
  REQUIRE_THAT(ToString(more.status()), ContainsSubstring("1048576 bytes are asked"));
  REQUIRE(f.device.FreeBytes().value() == (1 << 20) - 64);
}

TEST_CASE("A graph replays what was captured with the memory's present contents", "[device]") {
  Fixture f;
  std::memset(f.host(), 1, 64);
  REQUIRE(f.device.BeginCapture(f.stream.get()).ok());
  REQUIRE(
      f.device.CopyAsync(f.memory.get(), f.host(), 32, CopyKind::kToDevice, f.stream.get()).ok());
  REQUIRE(f.device.CopyAsync(f.host() + 32, f.memory.get(), 32, CopyKind::kToHost, f.stream.get())
              .ok());
  const Graph graph(f.device, f.device.EndCapture(f.stream.get()).value());
  REQUIRE(f.host()[32] == 1);
  std::memset(f.host(), 5, 32);
  REQUIRE(f.device.LaunchGraph(graph.get(), f.stream.get()).ok());
  REQUIRE(f.device.Synchronize(f.stream.get()).ok());
  REQUIRE(f.host()[63] == 5);

  SECTION("the same sequence with other parameters takes its place") {
    REQUIRE(f.device.BeginCapture(f.stream.get()).ok());
    REQUIRE(
        f.device.CopyAsync(f.memory.get(), f.host(), 16, CopyKind::kToDevice, f.stream.get()).ok());
    REQUIRE(f.device.CopyAsync(f.host() + 32, f.memory.get(), 16, CopyKind::kToHost, f.stream.get())
                .ok());
    REQUIRE(f.device.EndCaptureInto(f.stream.get(), graph.get()).ok());
    std::memset(f.host(), 6, 32);
    REQUIRE(f.device.LaunchGraph(graph.get(), f.stream.get()).ok());
    REQUIRE(f.host()[47] == 6);
    REQUIRE(f.host()[48] == 5);
  }
  SECTION("another sequence is refused and changes nothing") {
    REQUIRE(f.device.BeginCapture(f.stream.get()).ok());
    REQUIRE(f.device.FillAsync(f.memory.get(), 0, 8, f.stream.get()).ok());
    REQUIRE(absl::IsFailedPrecondition(f.device.EndCaptureInto(f.stream.get(), graph.get())));
    std::memset(f.host(), 8, 32);
    REQUIRE(f.device.LaunchGraph(graph.get(), f.stream.get()).ok());
    REQUIRE(f.host()[63] == 8);
  }
}

TEST_CASE("A stream's first error waits for Synchronize and stops what follows", "[device]") {
  Fixture f;
  int ran = 0;
  EmulatedDevice::Enqueue(f.stream.get(), "first", [] { return Internal("broken"); });
  EmulatedDevice::Enqueue(f.stream.get(), "second", [&] {
    ++ran;
    return absl::OkStatus();
  });
  REQUIRE(ToString(f.device.Synchronize(f.stream.get())) == "INTERNAL: first: broken");
  REQUIRE(ran == 0);
  REQUIRE(f.device.Synchronize(f.stream.get()).ok());
}

TEST_CASE("An event that was never recorded cannot be waited for", "[device]") {
  Fixture f;
  const Event event = MakeEvent(f.device).value();
  REQUIRE_FALSE(f.device.Done(event.get()).value());
  REQUIRE(f.device.WaitFor(f.stream.get(), event.get()).ok());
  REQUIRE(absl::IsFailedPrecondition(f.device.Synchronize(f.stream.get())));
  REQUIRE(f.device.Record(event.get(), f.stream.get()).ok());
  REQUIRE(f.device.Done(event.get()).value());
  REQUIRE(f.device.Milliseconds(event.get(), event.get()).value() == 0);
}

TEST_CASE("An arena takes all planned parts at once, aligned and apart", "[device]") {
  Fixture f;
  DeviceArena arena(f.device);
  const DeviceArena::Slice a = arena.Plan("weights", 1000);
  const DeviceArena::Slice b = arena.Plan("KV pages", 10);
  REQUIRE(arena.Commit(/*reserve=*/0).ok());
  REQUIRE(reinterpret_cast<uintptr_t>(arena.At(a)) % DeviceArena::kAlignment == 0);
  REQUIRE(arena.At(b) - arena.At(a) == 1024);
  REQUIRE(absl::IsFailedPrecondition(arena.Commit(0)));
}

TEST_CASE("An arena that does not fit beside the reserve names its largest parts", "[device]") {
  Fixture f;
  DeviceArena arena(f.device);
  (void)arena.Plan("small", 1);
  (void)arena.Plan("weights", 900'000);
  const absl::Status status = arena.Commit(/*reserve=*/200'000);
  REQUIRE(absl::IsResourceExhausted(status));
  REQUIRE_THAT(ToString(status), ContainsSubstring("weights: 900000"));
  REQUIRE_FALSE(arena.committed());
}

}  // namespace
}  // namespace weft
