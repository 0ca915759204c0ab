#include "libs/device/cuda_device.h"

#include <cuda_runtime_api.h>
#include <nvtx3/nvToolsExt.h>

#include "libs/base/status.h"

namespace weft {
namespace {

cudaStream_t Of(StreamHandle stream) { return reinterpret_cast<cudaStream_t>(stream); }
cudaEvent_t Of(EventHandle event) { return reinterpret_cast<cudaEvent_t>(event); }

absl::StatusCode CodeOf(cudaError_t error) {
  switch (error) {
    case cudaErrorMemoryAllocation:
      return absl::StatusCode::kResourceExhausted;
    case cudaErrorInvalidValue:
    case cudaErrorInvalidDevice:
    case cudaErrorInvalidConfiguration:
      return absl::StatusCode::kInvalidArgument;
    case cudaErrorNoDevice:
    case cudaErrorInsufficientDriver:
    case cudaErrorDevicesUnavailable:
      return absl::StatusCode::kUnavailable;
    case cudaErrorNoKernelImageForDevice:
      return absl::StatusCode::kFailedPrecondition;
    default:
      return absl::StatusCode::kInternal;
  }
}

absl::Status FromCuda(cudaError_t error, std::string_view what) {
  if (error == cudaSuccess) return absl::OkStatus();
  // A sticky error stays on the context; any other must not show up at the next call.
  (void)cudaGetLastError();
  return MakeStatus(CodeOf(error), fmt::format("{}: {} ({})", what, cudaGetErrorString(error),
                                               cudaGetErrorName(error)));
}

// Marks a call's stay in the host's timeline for a profiler; free without one.
class Range {
 public:
  explicit Range(const char* name) { nvtxRangePushA(name); }
  ~Range() { nvtxRangePop(); }
  Range(const Range&) = delete;
  Range& operator=(const Range&) = delete;
};

struct CudaGraph {
  cudaGraph_t graph = nullptr;
  cudaGraphExec_t executable = nullptr;
  ~CudaGraph() {
    if (executable != nullptr) cudaGraphExecDestroy(executable);
    if (graph != nullptr) cudaGraphDestroy(graph);
  }
};

class CudaDevice final : public Device {
 public:
  explicit CudaDevice(DeviceInfo info) : info_(std::move(info)) {}

  const DeviceInfo& info() const override { return info_; }

  absl::Status MakeCurrent() override { return Use(); }

  absl::StatusOr<uint64_t> FreeBytes() override {
    WEFT_RETURN_IF_ERROR(Use());
    size_t free = 0;
    size_t total = 0;
    WEFT_RETURN_IF_ERROR(FromCuda(cudaMemGetInfo(&free, &total), "cudaMemGetInfo"));
    return free;
  }

  absl::StatusOr<StreamHandle> CreateStream() override {
    WEFT_RETURN_IF_ERROR(Use());
    cudaStream_t stream = nullptr;
    WEFT_RETURN_IF_ERROR(FromCuda(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking),
                                  "cudaStreamCreateWithFlags"));
    return reinterpret_cast<StreamHandle>(stream);
  }
  void DestroyStream(StreamHandle stream) override { (void)cudaStreamDestroy(Of(stream)); }

  absl::StatusOr<EventHandle> CreateEvent() override {
    WEFT_RETURN_IF_ERROR(Use());
    cudaEvent_t event = nullptr;
    // A thread that waits for it sleeps: the next step is on the stream already.
    WEFT_RETURN_IF_ERROR(FromCuda(cudaEventCreateWithFlags(&event, cudaEventBlockingSync),
                                  "cudaEventCreateWithFlags"));
    return reinterpret_cast<EventHandle>(event);
  }
  void DestroyEvent(EventHandle event) override { (void)cudaEventDestroy(Of(event)); }

  // A step begins with it, on whatever thread: kernels go to the thread's current GPU.
  absl::Status Record(EventHandle event, StreamHandle stream) override {
    WEFT_RETURN_IF_ERROR(Use());
    return FromCuda(cudaEventRecord(Of(event), Of(stream)), "cudaEventRecord");
  }
  absl::Status WaitFor(StreamHandle stream, EventHandle event) override {
    return FromCuda(cudaStreamWaitEvent(Of(stream), Of(event), 0), "cudaStreamWaitEvent");
  }
  absl::StatusOr<bool> Done(EventHandle event) override {
    const cudaError_t error = cudaEventQuery(Of(event));
    if (error == cudaErrorNotReady) return false;
    WEFT_RETURN_IF_ERROR(FromCuda(error, "cudaEventQuery"));
    return true;
  }
  absl::StatusOr<double> Milliseconds(EventHandle from, EventHandle to) override {
    float milliseconds = 0;
    WEFT_RETURN_IF_ERROR(
        FromCuda(cudaEventElapsedTime(&milliseconds, Of(from), Of(to)), "cudaEventElapsedTime"));
    return milliseconds;
  }

  absl::Status CopyAsync(void* to, const void* from, uint64_t bytes, CopyKind kind,
                         StreamHandle stream) override {
    const cudaMemcpyKind cuda = kind == CopyKind::kToDevice ? cudaMemcpyHostToDevice
                                : kind == CopyKind::kToHost ? cudaMemcpyDeviceToHost
                                                            : cudaMemcpyDeviceToDevice;
    const cudaError_t error = cudaMemcpyAsync(to, from, bytes, cuda, Of(stream));
    if (error == cudaSuccess) return absl::OkStatus();
    return FromCuda(error, fmt::format("cudaMemcpyAsync of {} bytes", bytes));
  }
  absl::Status FillAsync(void* to, uint8_t value, uint64_t bytes, StreamHandle stream) override {
    return FromCuda(cudaMemsetAsync(to, value, bytes, Of(stream)), "cudaMemsetAsync");
  }

  absl::Status BeginCapture(StreamHandle stream) override {
    WEFT_RETURN_IF_ERROR(Use());
    // Other threads may allocate meanwhile: what this one does is what counts.
    return FromCuda(cudaStreamBeginCapture(Of(stream), cudaStreamCaptureModeThreadLocal),
                    "cudaStreamBeginCapture");
  }
  absl::StatusOr<GraphHandle> EndCapture(StreamHandle stream) override {
    auto own = std::make_unique<CudaGraph>();
    WEFT_RETURN_IF_ERROR(
        FromCuda(cudaStreamEndCapture(Of(stream), &own->graph), "cudaStreamEndCapture"));
    WEFT_RETURN_IF_ERROR(
        FromCuda(cudaGraphInstantiate(&own->executable, own->graph, 0), "cudaGraphInstantiate"));
    // Its memory on the device is taken now, not at the first launch.
    WEFT_RETURN_IF_ERROR(FromCuda(cudaGraphUpload(own->executable, Of(stream)), "cudaGraphUpload"));
    return reinterpret_cast<GraphHandle>(own.release());
  }
  absl::Status EndCaptureInto(StreamHandle stream, GraphHandle graph) override {
    CudaGraph fresh;
    WEFT_RETURN_IF_ERROR(
        FromCuda(cudaStreamEndCapture(Of(stream), &fresh.graph), "cudaStreamEndCapture"));
    auto* own = reinterpret_cast<CudaGraph*>(graph);
    cudaGraphExecUpdateResultInfo result = {};
    const cudaError_t error = cudaGraphExecUpdate(own->executable, fresh.graph, &result);
    if (error == cudaErrorGraphExecUpdateFailure) {
      (void)cudaGetLastError();
      return FailedPrecondition("the capture is another sequence than the graph (reason {})",
                                static_cast<int>(result.result));
    }
    WEFT_RETURN_IF_ERROR(FromCuda(error, "cudaGraphExecUpdate"));
    std::swap(own->graph, fresh.graph);
    return absl::OkStatus();
  }
  absl::Status LaunchGraph(GraphHandle graph, StreamHandle stream) override {
    const Range range("graph launch");
    return FromCuda(cudaGraphLaunch(reinterpret_cast<CudaGraph*>(graph)->executable, Of(stream)),
                    "cudaGraphLaunch");
  }
  void DestroyGraph(GraphHandle graph) override { delete reinterpret_cast<CudaGraph*>(graph); }

 protected:
  absl::StatusOr<void*> DoAllocate(uint64_t bytes) override {
    WEFT_RETURN_IF_ERROR(Use());
    void* memory = nullptr;
    const cudaError_t error = cudaMalloc(&memory, bytes == 0 ? 1 : bytes);
    if (error == cudaSuccess) return memory;
    return FromCuda(error, fmt::format("cudaMalloc of {} bytes on {}", bytes, info_.name));
  }
  void DoFree(void* memory) override { (void)cudaFree(memory); }

  absl::StatusOr<void*> DoAllocatePinned(uint64_t bytes) override {
    WEFT_RETURN_IF_ERROR(Use());
    void* memory = nullptr;
    const cudaError_t error = cudaMallocHost(&memory, bytes == 0 ? 1 : bytes);
    if (error == cudaSuccess) return memory;
    return FromCuda(error, fmt::format("cudaMallocHost of {} bytes", bytes));
  }
  void DoFreePinned(void* memory) override { (void)cudaFreeHost(memory); }

  absl::Status DoSynchronize(StreamHandle stream) override {
    const Range range("synchronize");
    return FromCuda(cudaStreamSynchronize(Of(stream)), "cudaStreamSynchronize");
  }
  absl::Status DoWait(EventHandle event) override {
    const Range range("wait for a step");
    return FromCuda(cudaEventSynchronize(Of(event)), "cudaEventSynchronize");
  }

 private:
  // A thread that was never told uses GPU 0.
  absl::Status Use() const { return FromCuda(cudaSetDevice(info_.ordinal), "cudaSetDevice"); }

  const DeviceInfo info_;
};

}  // namespace

absl::StatusOr<int32_t> CudaDeviceCount() {
  int count = 0;
  const cudaError_t error = cudaGetDeviceCount(&count);
  if (error == cudaErrorNoDevice) return 0;
  if (error == cudaErrorInsufficientDriver || error == cudaErrorInitializationError) {
    (void)cudaGetLastError();
    int driver = 0;
    (void)cudaDriverGetVersion(&driver);
    if (driver == 0) {
      return Unavailable(
          "no NVIDIA driver: looked for libcuda.so.1 on the loader's path (CUDA {}.{} needs it)",
          CUDART_VERSION / 1000, CUDART_VERSION % 1000 / 10);
    }
    return Unavailable("the NVIDIA driver knows CUDA {}.{}; this build needs {}.{}", driver / 1000,
                       driver % 1000 / 10, CUDART_VERSION / 1000, CUDART_VERSION % 1000 / 10);
  }
  WEFT_RETURN_IF_ERROR(FromCuda(error, "cudaGetDeviceCount"));
  return count;
}

absl::StatusOr<std::unique_ptr<Device>> OpenCudaDevice(int32_t ordinal) {
  WEFT_ASSIGN_OR_RETURN(const int32_t count, CudaDeviceCount());
  if (count == 0) {
    return Unavailable("the NVIDIA driver shows no GPU to this process (CUDA_VISIBLE_DEVICES?)");
  }
  if (ordinal < 0 || ordinal >= count) {
    return InvalidArgument("cuda:{}: there are {} GPUs, numbered from 0", ordinal, count);
  }
  cudaDeviceProp properties = {};
  WEFT_RETURN_IF_ERROR(
      FromCuda(cudaGetDeviceProperties(&properties, ordinal), "cudaGetDeviceProperties"));
  DeviceInfo info;
  info.name = properties.name;
  info.ordinal = ordinal;
  info.major = properties.major;
  info.minor = properties.minor;
  info.multiprocessors = properties.multiProcessorCount;
  info.memory_bytes = properties.totalGlobalMem;
  info.l2_bytes = static_cast<uint64_t>(properties.l2CacheSize);
  info.shared_bytes_per_block = properties.sharedMemPerBlockOptin;
  char bus[32] = {};
  WEFT_RETURN_IF_ERROR(
      FromCuda(cudaDeviceGetPCIBusId(bus, sizeof(bus), ordinal), "cudaDeviceGetPCIBusId"));
  info.pci_bus_id = bus;
  WEFT_RETURN_IF_ERROR(FromCuda(cudaSetDevice(ordinal), "cudaSetDevice"));
  return std::unique_ptr<Device>(std::make_unique<CudaDevice>(std::move(info)));
}

}  // namespace weft
