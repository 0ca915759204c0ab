#include "libs/comm/emulated_group.h"

#include <span>
#include <utility>
#include <vector>

#include "libs/base/status.h"
#include "libs/device/emulated_device.h"
#include "libs/device/simt/memory.h"

namespace weft::comm {
namespace {

// The emulator tracks what nothing has written yet.
void Wrote(void* data, uint64_t bytes) {
  simt::Region* const region = simt::FindRegion(data);
  if (region == nullptr) return;
  region->SetInitialised(static_cast<size_t>(static_cast<unsigned char*>(data) - region->data()),
                         bytes, true);
}

class EmulatedGroup final : public DeviceCommunicator {
 public:
  explicit EmulatedGroup(std::unique_ptr<Communicator> host) : host_(std::move(host)) {}

  int rank() const override { return host_->rank(); }
  int size() const override { return host_->size(); }

  absl::Status AllReduceSum(float* data, int64_t count, StreamHandle stream) override {
    return Put(stream, "all-reduce", [this, data, count] {
      return host_->AllReduceSum({data, static_cast<size_t>(count)});
    });
  }
  absl::Status AllGather(const float* mine, int64_t count, float* all,
                         StreamHandle stream) override {
    return Put(stream, "all-gather", [this, mine, count, all] {
      const auto own = static_cast<size_t>(count);
      const size_t every = own * static_cast<size_t>(size());
      const absl::Status status = host_->AllGather({mine, own}, {all, every});
      Wrote(all, every * sizeof(float));
      return status;
    });
  }
  absl::Status Broadcast(void* data, uint64_t bytes, int root, StreamHandle stream) override {
    return Put(stream, "broadcast", [this, data, bytes, root] {
      const absl::Status status =
          host_->Broadcast({static_cast<std::byte*>(data), static_cast<size_t>(bytes)}, root);
      Wrote(data, bytes);
      return status;
    });
  }
  absl::Status Send(const float* data, int64_t count, int to, StreamHandle stream) override {
    return Put(stream, "send", [this, data, count, to] {
      return host_->Send({data, static_cast<size_t>(count)}, to);
    });
  }
  absl::Status Recv(float* data, int64_t count, int from, StreamHandle stream) override {
    return Put(stream, "receive", [this, data, count, from] {
      const absl::Status status = host_->Recv({data, static_cast<size_t>(count)}, from);
      Wrote(data, static_cast<uint64_t>(count) * sizeof(float));
      return status;
    });
  }
  void Abort(const absl::Status& reason) override { host_->Abort(reason); }
  absl::Status status() const override { return host_->status(); }

 private:
  template <typename Call>
  absl::Status Put(StreamHandle stream, const char* what, Call call) {
    WEFT_RETURN_IF_ERROR(host_->status());
    EmulatedDevice::Enqueue(stream, what, std::move(call));
    return absl::OkStatus();
  }

  const std::unique_ptr<Communicator> host_;
};

}  // namespace

std::unique_ptr<DeviceCommunicator> MakeEmulatedGroup(std::unique_ptr<Communicator> host) {
  return std::make_unique<EmulatedGroup>(std::move(host));
}

}  // namespace weft::comm
