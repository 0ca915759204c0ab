// Two ranks over the machine's NCCL. On one GPU it has to be told to allow that
// (deploy/gpu/run.sh).
#include <mutex>
#include <thread>
#include <vector>

#include "libs/base/status.h"
#include "libs/comm/nccl.h"
#include "libs/device/cuda_device.h"
#include "tests/support/catch.h"

namespace weft {
namespace {

constexpr int kRanks = 2;

// What a rank of a model says in a step, three times over; what differs from what is expected.
absl::Status RunRank(std::shared_ptr<const comm::Nccl> nccl, const std::string& id, int rank) {
  auto device = OpenCudaDevice(rank);  // one each, or all on the first
  if (!device.ok()) device = OpenCudaDevice(0);
  WEFT_RETURN_IF_ERROR(device.status());
  WEFT_ASSIGN_OR_RETURN(const Stream stream, MakeStream(**device));
  comm::NcclOptions options;
  options.unique_id = id;
  options.rank = rank, options.size = kRanks;
  options.device = device->get();
  options.timeout = std::chrono::milliseconds(60'000);
  WEFT_ASSIGN_OR_RETURN(const auto group, comm::JoinNcclGroup(nccl, options));
  for (const int64_t count : {1, 4096, 1 << 20}) {
    const uint64_t bytes = static_cast<uint64_t>(count) * sizeof(float);
    WEFT_ASSIGN_OR_RETURN(const PinnedBuffer host, MakePinnedBuffer(**device, kRanks * bytes));
    WEFT_ASSIGN_OR_RETURN(const DeviceBuffer own, MakeDeviceBuffer(**device, bytes));
    WEFT_ASSIGN_OR_RETURN(const DeviceBuffer all, MakeDeviceBuffer(**device, kRanks * bytes));
    auto* values = static_cast<float*>(host.get());
    auto* data = static_cast<float*>(own.get());
    auto* gathered = static_cast<float*>(all.get());
    for (int64_t i = 0; i < count; ++i) values[i] = static_cast<float>(i % 97 + 1000 * rank);
    WEFT_RETURN_IF_ERROR(
        (*device)->CopyAsync(data, values, bytes, CopyKind::kToDevice, stream.get()));
    const int other = 1 - rank;
    // Round and back: each has its own again.
    if (rank == 0) {
      WEFT_RETURN_IF_ERROR(group->Send(data, count, other, stream.get()));
      WEFT_RETURN_IF_ERROR(group->Recv(data, count, other, stream.get()));
    } else {
      WEFT_RETURN_IF_ERROR(group->Recv(gathered, count, other, stream.get()));
      WEFT_RETURN_IF_ERROR(group->Send(gathered, count, other, stream.get()));
    }
    WEFT_RETURN_IF_ERROR(group->AllGather(data, count, gathered, stream.get()));
    WEFT_RETURN_IF_ERROR(group->AllReduceSum(data, count, stream.get()));
    WEFT_RETURN_IF_ERROR(
        (*device)->CopyAsync(values, gathered, kRanks * bytes, CopyKind::kToHost, stream.get()));
    WEFT_RETURN_IF_ERROR((*device)->Synchronize(stream.get()));
    for (int64_t i = 0; i < count; ++i) {
      const float expected = static_cast<float>(i % 97);
      if (values[i] != expected || values[count + i] != expected + 1000) {
        return Internal("rank {}: gathered[{}] of {} is {} and {}", rank, i, count, values[i],
                        values[count + i]);
      }
    }
    WEFT_RETURN_IF_ERROR(group->Broadcast(data, bytes, 1, stream.get()));
    WEFT_RETURN_IF_ERROR(
        (*device)->CopyAsync(values, data, bytes, CopyKind::kToHost, stream.get()));
    WEFT_RETURN_IF_ERROR((*device)->Synchronize(stream.get()));
    for (int64_t i = 0; i < count; ++i) {
      const float expected = static_cast<float>(2 * (i % 97) + 1000);
      if (values[i] != expected) {
        return Internal("rank {}: sum[{}] of {} is {}, expected {}", rank, i, count, values[i],
                        expected);
      }
    }
  }
  return group->status();
}

TEST_CASE("Two ranks over NCCL gather, sum, broadcast and pass on what they should", "[nccl]") {
  auto nccl = comm::Nccl::Open();
  INFO(ToString(nccl.status()));
  REQUIRE(nccl.ok());
  const std::string id = (*nccl)->MakeUniqueId().value();
  std::vector<absl::Status> results(kRanks);
  std::vector<std::thread> threads;
  for (int rank = 0; rank < kRanks; ++rank) {
    threads.emplace_back(
        [&, rank] { results[static_cast<size_t>(rank)] = RunRank(*nccl, id, rank); });
  }
  for (std::thread& thread : threads) thread.join();
  for (const absl::Status& result : results) {
    INFO(ToString(result));
    CHECK(result.ok());
  }
}

}  // namespace
}  // namespace weft
