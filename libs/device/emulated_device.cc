#include "libs/device/emulated_device.h"

#include <chrono>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <vector>

#include "libs/base/status.h"
#include "libs/device/simt/memory.h"

namespace weft {
namespace {

struct Work {
  std::string what;
  std::function<absl::Status()> run;
};

struct EmulatedStream {
  bool lazy = false;
  std::deque<Work> waiting;  // of a lazy device
  bool capturing = false;
  std::vector<Work> recorded;
  absl::Status error;
};

struct EmulatedEvent {
  EmulatedStream* stream = nullptr;  // on which it is to be recorded
  bool recorded = false;
  std::chrono::steady_clock::time_point at;
};

struct EmulatedGraph {
  std::vector<Work> work;
};

void RunNow(EmulatedStream& stream, const Work& work) {
  // As on a GPU: after an error nothing runs until somebody has looked at it.
  if (stream.error.ok()) stream.error = Annotate(work.run(), work.what);
}

// Runs what waits on the stream, until `enough` says so.
template <typename Enough>
void Drain(EmulatedStream& stream, const Enough& enough) {
  while (!stream.waiting.empty() && !enough()) {
    const Work work = std::move(stream.waiting.front());
    stream.waiting.pop_front();
    RunNow(stream, work);
  }
}
void Drain(EmulatedStream& stream) {
  Drain(stream, [] { return false; });
}

EmulatedStream& Of(StreamHandle stream) { return *reinterpret_cast<EmulatedStream*>(stream); }
EmulatedEvent& Of(EventHandle event) { return *reinterpret_cast<EmulatedEvent*>(event); }
EmulatedGraph& Of(GraphHandle graph) { return *reinterpret_cast<EmulatedGraph*>(graph); }

}  // namespace

EmulatedDevice::EmulatedDevice(const Options& options) : lazy_(options.lazy) {
  info_.name = "emulated sm_90";
  info_.major = 9;
  info_.multiprocessors = 1;
  info_.memory_bytes = options.memory_bytes;
  info_.l2_bytes = uint64_t{50} << 20;
  info_.shared_bytes_per_block = 227 << 10;
  info_.emulated = true;
}

EmulatedDevice::~EmulatedDevice() {
  for (const auto& [memory, block] : blocks_) {
    if (block.region == nullptr) std::free(const_cast<uint8_t*>(memory));
  }
}

absl::StatusOr<uint64_t> EmulatedDevice::FreeBytes() { return info_.memory_bytes - used_; }

absl::StatusOr<void*> EmulatedDevice::Take(uint64_t bytes, bool pinned) {
  if (!pinned && bytes > info_.memory_bytes - used_) {
    return ResourceExhausted("{} bytes are asked of {}, {} are free", bytes, info_.name,
                             info_.memory_bytes - used_);
  }
  Block block;
  block.bytes = bytes;
  void* memory = nullptr;
  if (pinned) {
    memory = std::aligned_alloc(256, bytes / 256 * 256 + 256);
    if (memory == nullptr) return ResourceExhausted("no memory for {} bytes", bytes);
  } else {
    block.region = std::make_unique<simt::Region>(simt::Space::kGlobal, bytes,
                                                  fmt::format("allocation {}", ++allocations_));
    memory = block.region->data();
    used_ += bytes;
  }
  blocks_[static_cast<const uint8_t*>(memory)] = std::move(block);
  return memory;
}

void EmulatedDevice::Return(void* memory, bool pinned) {
  if (memory == nullptr) return;
  const auto found = blocks_.find(static_cast<const uint8_t*>(memory));
  WEFT_CHECK(found != blocks_.end() && (found->second.region == nullptr) == pinned);
  if (!pinned) used_ -= found->second.bytes;
  blocks_.erase(found);
  if (pinned) std::free(memory);
}

absl::StatusOr<void*> EmulatedDevice::DoAllocate(uint64_t bytes) { return Take(bytes, false); }
void EmulatedDevice::DoFree(void* memory) {
  for (StreamHandle stream : streams_) Drain(Of(stream));
  Return(memory, false);
}
absl::StatusOr<void*> EmulatedDevice::DoAllocatePinned(uint64_t bytes) { return Take(bytes, true); }
void EmulatedDevice::DoFreePinned(void* memory) {
  for (StreamHandle stream : streams_) Drain(Of(stream));
  Return(memory, true);
}

absl::StatusOr<const EmulatedDevice::Block*> EmulatedDevice::Holding(const void* at, uint64_t bytes,
                                                                     bool pinned,
                                                                     const char* side) const {
  const auto* first = static_cast<const uint8_t*>(at);
  auto found = blocks_.upper_bound(first);
  if (found != blocks_.begin()) {
    --found;
    const auto offset = static_cast<uint64_t>(first - found->first);
    const Block& block = found->second;
    if ((block.region == nullptr) == pinned && offset <= block.bytes &&
        bytes <= block.bytes - offset) {
      return &block;
    }
  }
  return InvalidArgument("{} of a copy: {} bytes at {} are not in {} memory", side, bytes,
                         fmt::ptr(at), pinned ? "pinned" : "device");
}

absl::StatusOr<StreamHandle> EmulatedDevice::CreateStream() {
  auto* stream = new EmulatedStream;
  stream->lazy = lazy_;
  return *streams_.insert(reinterpret_cast<StreamHandle>(stream)).first;
}
void EmulatedDevice::DestroyStream(StreamHandle stream) {
  Drain(Of(stream));
  streams_.erase(stream);
  delete &Of(stream);
}

absl::Status EmulatedDevice::DoSynchronize(StreamHandle stream) {
  if (Of(stream).capturing)
    return FailedPrecondition("the stream captures: it cannot be waited for");
  Drain(Of(stream));
  return std::exchange(Of(stream).error, absl::OkStatus());
}

void EmulatedDevice::Enqueue(StreamHandle handle, std::string what,
                             std::function<absl::Status()> work) {
  EmulatedStream& stream = Of(handle);
  if (stream.capturing) {
    stream.recorded.push_back({std::move(what), std::move(work)});
    return;
  }
  Work now{std::move(what), std::move(work)};
  if (!stream.lazy) return RunNow(stream, now);
  stream.waiting.push_back(std::move(now));
}

absl::StatusOr<EventHandle> EmulatedDevice::CreateEvent() {
  return reinterpret_cast<EventHandle>(new EmulatedEvent);
}
void EmulatedDevice::DestroyEvent(EventHandle event) { delete &Of(event); }

absl::Status EmulatedDevice::Record(EventHandle event, StreamHandle stream) {
  Of(event).stream = &Of(stream);
  Of(event).recorded = false;
  Enqueue(stream, "record an event", [event] {
    Of(event).recorded = true;
    Of(event).at = std::chrono::steady_clock::now();
    return absl::OkStatus();
  });
  return absl::OkStatus();
}

absl::Status EmulatedDevice::WaitFor(StreamHandle stream, EventHandle event) {
  Enqueue(stream, "wait for an event", [event]() -> absl::Status {
    if (Of(event).stream != nullptr) {
      Drain(*Of(event).stream, [event] { return Of(event).recorded; });
    }
    if (!Of(event).recorded) return FailedPrecondition("the event was never recorded");
    return absl::OkStatus();
  });
  return absl::OkStatus();
}

absl::StatusOr<bool> EmulatedDevice::Done(EventHandle event) {
  if (Of(event).stream == nullptr) return false;
  EmulatedStream& stream = *Of(event).stream;
  const size_t before = stream.waiting.size();
  Drain(stream, [&] { return Of(event).recorded || stream.waiting.size() < before; });
  return Of(event).recorded;
}

absl::Status EmulatedDevice::DoWait(EventHandle event) {
  if (Of(event).stream == nullptr) return FailedPrecondition("the event was never recorded");
  Drain(*Of(event).stream, [event] { return Of(event).recorded; });
  return Of(event).stream->error;
}

absl::StatusOr<double> EmulatedDevice::Milliseconds(EventHandle from, EventHandle to) {
  if (!Of(from).recorded || !Of(to).recorded) return FailedPrecondition("an event is not recorded");
  return std::chrono::duration<double, std::milli>(Of(to).at - Of(from).at).count();
}

absl::Status EmulatedDevice::CopyAsync(void* to, const void* from, uint64_t bytes, CopyKind kind,
                                       StreamHandle stream) {
  const bool to_host = kind == CopyKind::kToHost;
  const bool from_host = kind == CopyKind::kToDevice;
  WEFT_ASSIGN_OR_RETURN(const Block* target, Holding(to, bytes, to_host, "target"));
  WEFT_ASSIGN_OR_RETURN(const Block* source, Holding(from, bytes, from_host, "source"));
  simt::Region* written = target->region.get();
  simt::Region* read = source->region.get();
  Enqueue(stream, "copy", [=]() -> absl::Status {
    const bool complete =
        read == nullptr ||
        read->IsInitialised(static_cast<const unsigned char*>(from) - read->data(), bytes);
    if (to_host && !complete) {
      return DataLoss("{} bytes of {} go to the host, some of which nothing has written", bytes,
                      read->name());
    }
    std::memmove(to, from, bytes);
    if (written != nullptr && complete) {
      written->SetInitialised(static_cast<unsigned char*>(to) - written->data(), bytes, true);
    }
    return absl::OkStatus();
  });
  return absl::OkStatus();
}

absl::Status EmulatedDevice::FillAsync(void* to, uint8_t value, uint64_t bytes,
                                       StreamHandle stream) {
  WEFT_ASSIGN_OR_RETURN(const Block* target, Holding(to, bytes, false, "target"));
  simt::Region* written = target->region.get();
  Enqueue(stream, "fill", [=] {
    std::memset(to, value, bytes);
    written->SetInitialised(static_cast<unsigned char*>(to) - written->data(), bytes, true);
    return absl::OkStatus();
  });
  return absl::OkStatus();
}

absl::Status EmulatedDevice::BeginCapture(StreamHandle stream) {
  if (Of(stream).capturing) return FailedPrecondition("the stream captures already");
  Of(stream).capturing = true;
  return absl::OkStatus();
}

absl::StatusOr<GraphHandle> EmulatedDevice::EndCapture(StreamHandle stream) {
  if (!Of(stream).capturing) return FailedPrecondition("the stream does not capture");
  Of(stream).capturing = false;
  auto* graph = new EmulatedGraph{std::exchange(Of(stream).recorded, {})};
  return reinterpret_cast<GraphHandle>(graph);
}

absl::Status EmulatedDevice::EndCaptureInto(StreamHandle stream, GraphHandle graph) {
  if (!Of(stream).capturing) return FailedPrecondition("the stream does not capture");
  Of(stream).capturing = false;
  std::vector<Work> work = std::exchange(Of(stream).recorded, {});
  std::vector<Work>& own = Of(graph).work;
  if (work.size() != own.size()) {
    return FailedPrecondition("the graph has {} operations, the capture {}", own.size(),
                              work.size());
  }
  for (size_t i = 0; i < work.size(); ++i) {
    if (work[i].what == own[i].what) continue;
    return FailedPrecondition("operation {} of the graph is '{}', of the capture '{}'", i,
                              own[i].what, work[i].what);
  }
  own = std::move(work);
  return absl::OkStatus();
}

absl::Status EmulatedDevice::LaunchGraph(GraphHandle graph, StreamHandle stream) {
  for (const Work& work : Of(graph).work) Enqueue(stream, work.what, work.run);
  return absl::OkStatus();
}

void EmulatedDevice::DestroyGraph(GraphHandle graph) { delete &Of(graph); }

}  // namespace weft
