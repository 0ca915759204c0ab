// A group over NCCL. Communicators do not block: a call that is in progress is asked about until it
// is on the stream, so that a peer that never comes costs `timeout` and not the process.
#include <condition_variable>
#include <cstring>
#include <mutex>
#include <thread>

#include "libs/base/status.h"
#include "libs/comm/in_process.h"
#include "libs/comm/nccl.h"

namespace weft::comm {
namespace {

using std::chrono::steady_clock;

class NcclGroup final : public DeviceCommunicator {
 public:
  NcclGroup(std::shared_ptr<const Nccl> nccl, const NcclOptions& options)
      : nccl_(std::move(nccl)), options_(options) {}
  ~NcclGroup() override {
    {
      std::lock_guard lock(mutex_);
      stopping_ = true;
    }
    stop_.notify_all();
    if (watch_.joinable()) watch_.join();
    // Not ncclCommDestroy, which waits for peers: what is on the stream is done or given up.
    std::lock_guard lock(mutex_);
    Drop();
  }

  absl::Status Join();

  int rank() const override { return options_.rank; }
  int size() const override { return options_.size; }

  absl::Status AllReduceSum(float* data, int64_t count, StreamHandle stream) override {
    return Put("ncclAllReduce", [&](const Nccl::Functions& call) {
      return call.all_reduce(data, data, static_cast<size_t>(count), nccl::kFloat32, nccl::kSum,
                             comm_, stream);
    });
  }
  absl::Status AllGather(const float* mine, int64_t count, float* all,
                         StreamHandle stream) override {
    return Put("ncclAllGather", [&](const Nccl::Functions& call) {
      return call.all_gather(mine, all, static_cast<size_t>(count), nccl::kFloat32, comm_, stream);
    });
  }
  absl::Status Broadcast(void* data, uint64_t bytes, int root, StreamHandle stream) override {
    WEFT_RETURN_IF_ERROR(CheckPeer("Broadcast", root, /*other=*/false));
    return Put("ncclBroadcast", [&](const Nccl::Functions& call) {
      return call.broadcast(data, data, bytes, nccl::kUint8, root, comm_, stream);
    });
  }
  absl::Status Send(const float* data, int64_t count, int to, StreamHandle stream) override {
    WEFT_RETURN_IF_ERROR(CheckPeer("Send", to, /*other=*/true));
    return Put("ncclSend", [&](const Nccl::Functions& call) {
      return call.send(data, static_cast<size_t>(count), nccl::kFloat32, to, comm_, stream);
    });
  }
  absl::Status Recv(float* data, int64_t count, int from, StreamHandle stream) override {
    WEFT_RETURN_IF_ERROR(CheckPeer("Recv", from, /*other=*/true));
    return Put("ncclRecv", [&](const Nccl::Functions& call) {
      return call.recv(data, static_cast<size_t>(count), nccl::kFloat32, from, comm_, stream);
    });
  }

  void Abort(const absl::Status& reason) override {
    std::lock_guard lock(mutex_);
    (void)End(MakeStatus(absl::StatusCode::kAborted,
                         fmt::format("rank {} gave up: {}", rank(), Message(reason))));
  }
  absl::Status status() const override {
    std::lock_guard lock(mutex_);
    return reason_;
  }

 private:
  template <typename Call>
  absl::Status Put(const char* name, Call&& call) {
    std::unique_lock lock(mutex_);
    if (!reason_.ok()) return reason_;
    return Settle(lock, name, call(nccl_->calls()));
  }

  // Until a call that is in progress is done. The mutex is free meanwhile, for Abort().
  absl::Status Settle(std::unique_lock<std::mutex>& lock, const char* name, nccl::Result result) {
    constexpr std::chrono::microseconds kPause{50};
    const auto deadline = steady_clock::now() + options_.timeout;
    while (result == nccl::kInProgress) {
      if (steady_clock::now() >= deadline) {
        return End(
            Unavailable("rank {} has waited {} ms in {}", rank(), options_.timeout.count(), name));
      }
      lock.unlock();
      std::this_thread::sleep_for(kPause);
      lock.lock();
      if (!reason_.ok()) return reason_;
      nccl::Result now = nccl::kSuccess;
      const nccl::Result asked = nccl_->calls().async_error(comm_, &now);
      result = asked == nccl::kSuccess ? now : asked;
    }
    return result == nccl::kSuccess ? absl::OkStatus() : End(Failed(name, result));
  }

  absl::Status Failed(const char* name, nccl::Result result) const {
    const char* const more = comm_ == nullptr ? "" : nccl_->calls().last_error(comm_);
    return Unavailable("rank {}: {}: {}{}{}", rank(), name, nccl_->calls().error_string(result),
                       more == nullptr || *more == '\0' ? "" : ": ", more == nullptr ? "" : more);
  }

  absl::Status CheckPeer(const char* call, int peer, bool other) const {
    if (peer >= 0 && peer < size() && !(other && peer == rank())) return absl::OkStatus();
    return InvalidArgument("{}: rank {} of {}, from rank {}", call, peer, size(), rank());
  }

  // With the mutex. The first reason stays.
  absl::Status End(absl::Status reason) {
    if (reason_.ok()) reason_ = std::move(reason);
    Drop();
    return reason_;
  }
  void Drop() {
    if (comm_ != nullptr) (void)nccl_->calls().abort(comm_);
    comm_ = nullptr;
  }

  void Watch() {
    std::unique_lock lock(mutex_);
    while (!stop_.wait_for(lock, options_.watch, [this] { return stopping_; })) {
      if (!reason_.ok()) return;
      nccl::Result now = nccl::kSuccess;
      const nccl::Result asked = nccl_->calls().async_error(comm_, &now);
      if (asked != nccl::kSuccess) now = asked;
      if (now != nccl::kSuccess && now != nccl::kInProgress) {
        (void)End(Failed("a peer or the network", now));
      }
    }
  }

  const std::shared_ptr<const Nccl> nccl_;
  const NcclOptions options_;
  mutable std::mutex mutex_;  // guards what follows, and every call of comm_
  nccl::Comm* comm_ = nullptr;
  absl::Status reason_;
  bool stopping_ = false;
  std::condition_variable stop_;
  std::thread watch_;
};

absl::Status NcclGroup::Join() {
  WEFT_RETURN_IF_ERROR(options_.device->MakeCurrent());
  nccl::UniqueId id;
  std::memcpy(id.bytes, options_.unique_id.data(), sizeof(id.bytes));
  nccl::Config config;
  {
    std::unique_lock lock(mutex_);
    const nccl::Result begun =
        nccl_->calls().init(&comm_, options_.size, id, options_.rank, &config);
    WEFT_RETURN_IF_ERROR(Settle(lock, "ncclCommInitRankConfig", begun));
  }
  watch_ = std::thread([this] { Watch(); });
  return absl::OkStatus();
}

}  // namespace

absl::Status NcclOptions::Validate() const {
  if (size < 1 || size > kMaxRanks || rank < 0 || rank >= size) {
    return InvalidArgument("rank {} of {}: expected up to {} ranks", rank, size, kMaxRanks);
  }
  if (unique_id.size() != sizeof(nccl::UniqueId)) {
    return InvalidArgument("unique_id: expected {} bytes, found {}", sizeof(nccl::UniqueId),
                           unique_id.size());
  }
  if (device == nullptr) return InvalidArgument("device: there is none");
  if (timeout.count() < 1 || watch.count() < 1) {
    return InvalidArgument("timeout: {} ms, watch: {} ms", timeout.count(), watch.count());
  }
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<DeviceCommunicator>> JoinNcclGroup(std::shared_ptr<const Nccl> nccl,
                                                                  const NcclOptions& options) {
  WEFT_RETURN_IF_ERROR(options.Validate());
  auto group = std::make_unique<NcclGroup>(std::move(nccl), options);
  WEFT_RETURN_IF_ERROR(group->Join());
  return std::unique_ptr<DeviceCommunicator>(std::move(group));
}

}  // namespace weft::comm
