// The group over NCCL, on a library that does what NCCL does for threads (nccl_stand_in.cc).
#include "libs/comm/nccl.h"

#include <dlfcn.h>

#include <functional>
#include <mutex>
#include <thread>
#include <vector>

#include "libs/base/status.h"
#include "libs/device/emulated_device.h"
#include "tests/support/catch.h"

namespace weft::comm {
namespace {

using std::chrono::milliseconds;
using Group = std::vector<std::unique_ptr<DeviceCommunicator>>;

// What the stand-in has for tests. It is open already, so this finds the same one.
void Synchronize(int rank) {
  void* const library = dlopen(WEFT_NCCL_STAND_IN, RTLD_NOW);
  reinterpret_cast<void (*)(int)>(dlsym(library, "weft_nccl_synchronize"))(rank);
}
void Break(int rank) {
  void* const library = dlopen(WEFT_NCCL_STAND_IN, RTLD_NOW);
  reinterpret_cast<void (*)(int)>(dlsym(library, "weft_nccl_break"))(rank);
}

struct Rig {
  std::shared_ptr<const Nccl> nccl = Nccl::Open(WEFT_NCCL_STAND_IN).value();
  EmulatedDevice device;

  NcclOptions Options(int rank, int size) {
    NcclOptions options;
    options.rank = rank, options.size = size;
    options.device = &device;
    options.timeout = milliseconds(20'000);
    options.watch = milliseconds(1);
    return options;
  }
  Group Join(int size) {
    const std::string id = nccl->MakeUniqueId().value();
    Group ranks(static_cast<size_t>(size));
    Each(size, [&](int rank) {
      NcclOptions own = Options(rank, size);
      own.unique_id = id;
      ranks[static_cast<size_t>(rank)] = JoinNcclGroup(nccl, own).value();
    });
    return ranks;
  }
  static void Each(int size, const std::function<void(int)>& call) {
    std::vector<std::thread> threads;
    for (int rank = 0; rank < size; ++rank) threads.emplace_back(call, rank);
    for (std::thread& thread : threads) thread.join();
  }
};

TEST_CASE("Three ranks over NCCL sum, gather, broadcast and pass on, call by call", "[nccl]") {
  Rig rig;
  const Group ranks = rig.Join(3);
  Rig::Each(3, [&](int rank) {
    DeviceCommunicator& own = *ranks[static_cast<size_t>(rank)];
    std::vector<float> sum{1.0F + static_cast<float>(rank), 10};
    std::vector<float> mine{static_cast<float>(rank), -1}, all(6);
    std::vector<float> sent(4, static_cast<float>(rank)), got(4);
    std::vector<char> word(5, static_cast<char>('a' + rank));
    std::vector<absl::Status> results;
    results.push_back(own.AllReduceSum(sum.data(), 2, nullptr));
    results.push_back(own.AllGather(mine.data(), 2, all.data(), nullptr));
    results.push_back(own.Broadcast(word.data(), 5, 1, nullptr));
    results.push_back(own.Send(sent.data(), 4, (rank + 1) % 3, nullptr));
    results.push_back(own.Recv(got.data(), 4, (rank + 2) % 3, nullptr));
    Synchronize(rank);
    static std::mutex mutex;  // Catch's assertions are for one thread at a time
    std::lock_guard lock(mutex);
    for (const absl::Status& result : results) CHECK(result.ok());
    CHECK(sum == std::vector<float>{6, 30});
    CHECK(all == std::vector<float>{0, -1, 1, -1, 2, -1});
    CHECK(word == std::vector<char>(5, 'b'));
    CHECK(got == std::vector<float>(4, static_cast<float>((rank + 2) % 3)));
    CHECK(own.status().ok());
  });
}

TEST_CASE("A rank that never comes costs the others their timeout", "[nccl]") {
  Rig rig;
  NcclOptions options = rig.Options(0, 2);
  options.unique_id = rig.nccl->MakeUniqueId().value();
  options.timeout = milliseconds(50);
  const auto joined = JoinNcclGroup(rig.nccl, options);
  CHECK(joined.status().code() == absl::StatusCode::kUnavailable);
  CHECK(Message(joined.status()) == "rank 0 has waited 50 ms in ncclCommInitRankConfig");
}

TEST_CASE("An error of the network is found without a call, and is the answer of all later ones",
          "[nccl]") {
  Rig rig;
  const Group ranks = rig.Join(2);
  Break(1);
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(20);
  while (ranks[1]->status().ok() && std::chrono::steady_clock::now() < deadline) {
    std::this_thread::sleep_for(milliseconds(1));
  }
  const absl::Status status = ranks[1]->status();
  CHECK_THAT(std::string(Message(status)),
             ContainsSubstring("rank 1: a peer or the network: remote process"));
  float value = 1;
  CHECK(ranks[1]->AllReduceSum(&value, 1, nullptr) == status);
  ranks[1]->Abort(Internal("too late"));
  CHECK(ranks[1]->status() == status);
}

TEST_CASE("Abort ends what waits on the stream for a rank that does not come", "[nccl]") {
  Rig rig;
  const Group ranks = rig.Join(2);
  std::vector<float> data(4);
  REQUIRE(ranks[0]->AllReduceSum(data.data(), 4, nullptr).ok());
  ranks[0]->Abort(Unavailable("rank 1 has not ended its step for 5 ms"));
  Synchronize(0);
  CHECK(Message(ranks[0]->status()) == "rank 0 gave up: rank 1 has not ended its step for 5 ms");
  CHECK_FALSE(ranks[0]->Recv(data.data(), 4, 1, nullptr).ok());
}

TEST_CASE("What is no call of a group, or no library, is an error", "[nccl]") {
  Rig rig;
  const Group ranks = rig.Join(2);
  float value = 1;
  CHECK(ranks[0]->Send(&value, 1, 0, nullptr).code() == absl::StatusCode::kInvalidArgument);
  CHECK(ranks[0]->Recv(&value, 1, 2, nullptr).code() == absl::StatusCode::kInvalidArgument);
  CHECK(ranks[0]->Broadcast(&value, 4, -1, nullptr).code() == absl::StatusCode::kInvalidArgument);
  CHECK(ranks[0]->status().ok());
  const auto missing = Nccl::Open("/nonexistent/libnccl.so.2");
  CHECK(missing.status().code() == absl::StatusCode::kUnavailable);
  CHECK_THAT(std::string(Message(missing.status())),
             ContainsSubstring("/nonexistent/libnccl.so.2"));
  CHECK_THAT(std::string(Message(Nccl::Open("libm.so.6").status())),
             ContainsSubstring("no function nccl"));
  NcclOptions options = rig.Options(0, 1);
  options.unique_id = "short";
  CHECK_THAT(std::string(Message(JoinNcclGroup(rig.nccl, options).status())),
             ContainsSubstring("unique_id: expected 128 bytes, found 5"));
}

}  // namespace
}  // namespace weft::comm
