// What the engine asks of an accelerator: memory, ordered work, events, graphs. Two kinds implement
// it: a CUDA device (cuda_device.h) and the emulator on this machine's CPU (emulated_device.h), so
// that the host code around the kernels runs in tests too.
//
// Work is asynchronous: it is put on a stream and its errors may surface at a later call on the
// same device. Between BeginStep() and EndStep() nothing may allocate, free or wait: a debug build
// aborts on it, because one such call in a decode step costs more than the step's kernels.
#pragma once

#include <absl/status/status.h>
#include <absl/status/statusor.h>

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>

namespace weft {

// An ordered queue of work; cudaStream_t of a CUDA device.
using StreamHandle = struct StreamTag*;
using EventHandle = struct EventTag*;
using GraphHandle = struct GraphTag*;

struct DeviceInfo {
  std::string name;
  int32_t ordinal = 0;
  std::string pci_bus_id;  // "0000:1b:00.0"
  int32_t major = 0;       // compute capability
  int32_t minor = 0;
  int32_t multiprocessors = 0;
  uint64_t memory_bytes = 0;
  uint64_t l2_bytes = 0;
  uint64_t shared_bytes_per_block = 0;  // the most that a kernel may ask for
  bool emulated = false;
};

enum class CopyKind { kToDevice, kToHost, kOnDevice };

// Thread safe; a stream, an event or a graph is used by one thread at a time.
class Device {
 public:
  Device() = default;
  Device(const Device&) = delete;
  Device& operator=(const Device&) = delete;
  virtual ~Device() = default;

  virtual const DeviceInfo& info() const = 0;
  // Makes it the device that libraries of its maker work on when this thread calls them.
  virtual absl::Status MakeCurrent() { return absl::OkStatus(); }
  // Bytes that Allocate may still hand out.
  virtual absl::StatusOr<uint64_t> FreeBytes() = 0;

  // Memory of the device, aligned to 256 bytes, not cleared. kResourceExhausted, with what was
  // asked and what was free, when there is none. Waits for the device.
  absl::StatusOr<void*> Allocate(uint64_t bytes);
  void Free(void* memory);
  // Memory of the host that the device copies from and to without a detour.
  absl::StatusOr<void*> AllocatePinned(uint64_t bytes);
  void FreePinned(void* memory);

  virtual absl::StatusOr<StreamHandle> CreateStream() = 0;
  virtual void DestroyStream(StreamHandle stream) = 0;
  // Waits until all that was put on the stream is done; its first error.
  absl::Status Synchronize(StreamHandle stream);

  virtual absl::StatusOr<EventHandle> CreateEvent() = 0;
  virtual void DestroyEvent(EventHandle event) = 0;
  virtual absl::Status Record(EventHandle event, StreamHandle stream) = 0;
  // Work put on `stream` from now on waits for the event; the caller does not.
  virtual absl::Status WaitFor(StreamHandle stream, EventHandle event) = 0;
  // The caller waits until all that was put on the stream before the event is done; its first
  // error. Elsewhere than inside a step.
  absl::Status Wait(EventHandle event);
  // True when all that was recorded before the event is done.
  virtual absl::StatusOr<bool> Done(EventHandle event) = 0;
  // Time from one recorded, finished event to another.
  virtual absl::StatusOr<double> Milliseconds(EventHandle from, EventHandle to) = 0;

  // `bytes` from `from` to `to`, in the stream's order. Host memory must be pinned, or the copy is
  // not asynchronous.
  virtual absl::Status CopyAsync(void* to, const void* from, uint64_t bytes, CopyKind kind,
                                 StreamHandle stream) = 0;
  virtual absl::Status FillAsync(void* to, uint8_t value, uint64_t bytes, StreamHandle stream) = 0;

  // What is put on the stream between the two is recorded, not done.
  virtual absl::Status BeginCapture(StreamHandle stream) = 0;
  virtual absl::StatusOr<GraphHandle> EndCapture(StreamHandle stream) = 0;
  // Ends a capture and gives its parameters to `graph`, recorded earlier with the same operations
  // in the same order. kFailedPrecondition when it was another sequence; `graph` then keeps its
  // own.
  virtual absl::Status EndCaptureInto(StreamHandle stream, GraphHandle graph) = 0;
  virtual absl::Status LaunchGraph(GraphHandle graph, StreamHandle stream) = 0;
  virtual void DestroyGraph(GraphHandle graph) = 0;

  void BeginStep() { steps_.fetch_add(1, std::memory_order_relaxed); }
  void EndStep() { steps_.fetch_sub(1, std::memory_order_relaxed); }

 protected:
  virtual absl::StatusOr<void*> DoAllocate(uint64_t bytes) = 0;
  virtual void DoFree(void* memory) = 0;
  virtual absl::StatusOr<void*> DoAllocatePinned(uint64_t bytes) = 0;
  virtual void DoFreePinned(void* memory) = 0;
  virtual absl::Status DoSynchronize(StreamHandle stream) = 0;
  virtual absl::Status DoWait(EventHandle event) = 0;

 private:
  void AssertNoStep(const char* what) const;

  std::atomic<int32_t> steps_{0};
};

// Marks a step: see the top of this file.
class StepScope {
 public:
  explicit StepScope(Device& device) : device_(device) { device_.BeginStep(); }
  ~StepScope() { device_.EndStep(); }
  StepScope(const StepScope&) = delete;
  StepScope& operator=(const StepScope&) = delete;

 private:
  Device& device_;
};

// Owns one handle of a device, which must outlive it.
template <typename Handle, void (Device::*Destroy)(Handle)>
class DeviceOwned {
 public:
  DeviceOwned() = default;
  DeviceOwned(Device& device, Handle handle) : device_(&device), handle_(handle) {}
  DeviceOwned(DeviceOwned&& other) noexcept
      : device_(other.device_), handle_(std::exchange(other.handle_, nullptr)) {}
  DeviceOwned& operator=(DeviceOwned&& other) noexcept {
    std::swap(device_, other.device_);
    std::swap(handle_, other.handle_);
    return *this;
  }
  DeviceOwned(const DeviceOwned&) = delete;
  DeviceOwned& operator=(const DeviceOwned&) = delete;
  ~DeviceOwned() {
    if (handle_ != nullptr) (device_->*Destroy)(handle_);
  }

  Handle get() const { return handle_; }
  explicit operator bool() const { return handle_ != nullptr; }

 private:
  Device* device_ = nullptr;
  Handle handle_ = nullptr;
};

using Stream = DeviceOwned<StreamHandle, &Device::DestroyStream>;
using Event = DeviceOwned<EventHandle, &Device::DestroyEvent>;
using Graph = DeviceOwned<GraphHandle, &Device::DestroyGraph>;
using DeviceBuffer = DeviceOwned<void*, &Device::Free>;
using PinnedBuffer = DeviceOwned<void*, &Device::FreePinned>;

absl::StatusOr<Stream> MakeStream(Device& device);
absl::StatusOr<Event> MakeEvent(Device& device);
absl::StatusOr<DeviceBuffer> MakeDeviceBuffer(Device& device, uint64_t bytes);
absl::StatusOr<PinnedBuffer> MakePinnedBuffer(Device& device, uint64_t bytes);

}  // namespace weft
