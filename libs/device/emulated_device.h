// A Device on this machine's CPU: kernels run under the emulator (libs/device/simt), which checks
// every access to its memory. For tests; one thread uses it. Work runs when it is put on a stream,
// so a stream's order is the program's, except while the stream captures: then it is recorded, and
// runs whenever the graph is launched. A lazy device runs it as late as one may: when somebody
// waits for it, or asks; whoever changes pinned memory too early, or reads it, finds out.
//
// It is strict where a GPU is silent: copies outside allocations, freed or foreign memory, unpinned
// host memory, copies to the host of bytes that nothing wrote and events that nobody recorded are
// errors.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <set>

#include "libs/device/device.h"

namespace weft {

namespace simt {
class Region;
}

class EmulatedDevice final : public Device {
 public:
  struct Options {
    uint64_t memory_bytes = uint64_t{4} << 30;  // Allocate refuses more
    bool lazy = false;
  };
  EmulatedDevice() : EmulatedDevice(Options()) {}
  explicit EmulatedDevice(const Options& options);
  ~EmulatedDevice() override;

  const DeviceInfo& info() const override { return info_; }
  absl::StatusOr<uint64_t> FreeBytes() override;
  absl::StatusOr<StreamHandle> CreateStream() override;
  void DestroyStream(StreamHandle stream) override;
  absl::StatusOr<EventHandle> CreateEvent() override;
  void DestroyEvent(EventHandle event) override;
  absl::Status Record(EventHandle event, StreamHandle stream) override;
  absl::Status WaitFor(StreamHandle stream, EventHandle event) override;
  absl::StatusOr<bool> Done(EventHandle event) override;
  absl::StatusOr<double> Milliseconds(EventHandle from, EventHandle to) override;
  absl::Status CopyAsync(void* to, const void* from, uint64_t bytes, CopyKind kind,
                         StreamHandle stream) override;
  absl::Status FillAsync(void* to, uint8_t value, uint64_t bytes, StreamHandle stream) override;
  absl::Status BeginCapture(StreamHandle stream) override;
  absl::StatusOr<GraphHandle> EndCapture(StreamHandle stream) override;
  absl::Status EndCaptureInto(StreamHandle stream, GraphHandle graph) override;
  absl::Status LaunchGraph(GraphHandle graph, StreamHandle stream) override;
  void DestroyGraph(GraphHandle graph) override;

  // Puts work on one of this device's streams: it runs now, or is recorded. `what` names it: graphs
  // are the same sequence when their names are. An error of it is the stream's until Synchronize.
  static void Enqueue(StreamHandle stream, std::string what, std::function<absl::Status()> work);

 protected:
  absl::StatusOr<void*> DoAllocate(uint64_t bytes) override;
  void DoFree(void* memory) override;
  absl::StatusOr<void*> DoAllocatePinned(uint64_t bytes) override;
  void DoFreePinned(void* memory) override;
  absl::Status DoSynchronize(StreamHandle stream) override;
  absl::Status DoWait(EventHandle event) override;

 private:
  struct Block {
    uint64_t bytes = 0;
    std::unique_ptr<simt::Region> region;  // of device memory; null: pinned
  };
  absl::StatusOr<void*> Take(uint64_t bytes, bool pinned);
  void Return(void* memory, bool pinned);
  // The live block of the kind that holds [at, at + bytes).
  absl::StatusOr<const Block*> Holding(const void* at, uint64_t bytes, bool pinned,
                                       const char* side) const;

  DeviceInfo info_;
  const bool lazy_;
  std::set<StreamHandle> streams_;
  std::map<const uint8_t*, Block> blocks_;
  uint64_t used_ = 0;
  uint64_t allocations_ = 0;  // ever made, for their names
};

}  // namespace weft
