#include "libs/device/device.h"

#include "libs/base/status.h"

namespace weft {

void Device::AssertNoStep(const char* what) const {
#ifndef NDEBUG
  if (steps_.load(std::memory_order_relaxed) != 0) ::weft::CheckFailed(what, __FILE__, __LINE__);
#else
  (void)what;
#endif
}

absl::StatusOr<void*> Device::Allocate(uint64_t bytes) {
  AssertNoStep("device memory is allocated inside a step");
  return DoAllocate(bytes);
}

void Device::Free(void* memory) {
  AssertNoStep("device memory is freed inside a step");
  DoFree(memory);
}

absl::StatusOr<void*> Device::AllocatePinned(uint64_t bytes) {
  AssertNoStep("pinned memory is allocated inside a step");
  return DoAllocatePinned(bytes);
}

void Device::FreePinned(void* memory) {
  AssertNoStep("pinned memory is freed inside a step");
  DoFreePinned(memory);
}

absl::Status Device::Synchronize(StreamHandle stream) {
  AssertNoStep("the host waits for the device inside a step");
  return DoSynchronize(stream);
}

absl::Status Device::Wait(EventHandle event) {
  AssertNoStep("the host waits for an event inside a step");
  return DoWait(event);
}

absl::StatusOr<Stream> MakeStream(Device& device) {
  WEFT_ASSIGN_OR_RETURN(StreamHandle stream, device.CreateStream());
  return Stream(device, stream);
}

absl::StatusOr<Event> MakeEvent(Device& device) {
  WEFT_ASSIGN_OR_RETURN(EventHandle event, device.CreateEvent());
  return Event(device, event);
}

absl::StatusOr<DeviceBuffer> MakeDeviceBuffer(Device& device, uint64_t bytes) {
  WEFT_ASSIGN_OR_RETURN(void* memory, device.Allocate(bytes));
  return DeviceBuffer(device, memory);
}

absl::StatusOr<PinnedBuffer> MakePinnedBuffer(Device& device, uint64_t bytes) {
  WEFT_ASSIGN_OR_RETURN(void* memory, device.AllocatePinned(bytes));
  return PinnedBuffer(device, memory);
}

}  // namespace weft
