#include "libs/comm/in_process.h"

#include <pthread.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cmath>
#include <cstring>
#include <functional>
#include <random>
#include <string>
#include <thread>

#include "libs/base/status.h"
#include "libs/comm/fate.h"
#include "tests/support/catch.h"

namespace weft::comm {
namespace {

using std::chrono::milliseconds;
using Ranks = std::vector<std::unique_ptr<Communicator>>;

Ranks MakeRanks(int size, milliseconds timeout = milliseconds(20'000)) {
  auto ranks = MakeInProcessGroup({.size = size, .timeout = timeout});
  REQUIRE(ranks.ok());
  return *std::move(ranks);
}

// Every rank's result of `fn`, each on a thread of its own.
std::vector<absl::Status> OnAll(Ranks& ranks,
                                const std::function<absl::Status(Communicator&)>& fn) {
  std::vector<absl::Status> results(ranks.size());
  std::vector<std::thread> threads;
  for (size_t r = 0; r < ranks.size(); ++r) {
    threads.emplace_back([&, r] { results[r] = fn(*ranks[r]); });
  }
  for (std::thread& thread : threads) thread.join();
  return results;
}

void CheckOk(const std::vector<absl::Status>& results) {
  for (const absl::Status& status : results) {
    INFO(ToString(status));
    CHECK(status.ok());
  }
}

// What rank r brings to a call, of magnitudes whose sum depends on the order.
std::vector<float> Data(int rank, size_t size, uint32_t seed) {
  std::mt19937 random(seed * 100 + static_cast<uint32_t>(rank));
  std::vector<float> data(size);
  for (float& x : data) {
    x = std::ldexp(static_cast<float>(random() % 2001) - 1000.0f, static_cast<int>(random() % 40));
  }
  return data;
}

TEST_CASE("A sum is that of the ranks in their order, to the bit, on every rank", "[comm]") {
  const int size = GENERATE(1, 2, 3, 5);
  Ranks ranks = MakeRanks(size);
  // Awkward sizes, none, and several pieces.
  const std::vector<size_t> sizes = {1, 0, 17, 576, 200'003, 3};
  CheckOk(OnAll(ranks, [&](Communicator& comm) -> absl::Status {
    for (uint32_t round = 0; round < 30; ++round) {
      const size_t count = round < 6 ? sizes[round] : 64 + round;
      std::vector<float> expected = Data(0, count, round);
      for (int r = 1; r < size; ++r) {
        const std::vector<float> theirs = Data(r, count, round);
        for (size_t i = 0; i < count; ++i) expected[i] += theirs[i];
      }
      std::vector<float> data = Data(comm.rank(), count, round);
      WEFT_RETURN_IF_ERROR(comm.AllReduceSum(data));
      if (count > 0 && std::memcmp(data.data(), expected.data(), count * sizeof(float)) != 0) {
        return Internal("round {}: another sum", round);
      }
    }
    return absl::OkStatus();
  }));
}

TEST_CASE("Ranks gather, broadcast, meet, and pass messages on", "[comm]") {
  const int size = GENERATE(2, 3, 4);
  Ranks ranks = MakeRanks(size);
  CheckOk(OnAll(ranks, [&](Communicator& comm) -> absl::Status {
    const int rank = comm.rank();
    for (uint32_t round = 0; round < 20; ++round) {
      const size_t count = round == 3 ? 70'000 : round;
      const std::vector<float> mine = Data(rank, count, round);
      // Only some want all of it.
      std::vector<float> all(rank % 2 == 0 ? count * static_cast<size_t>(size) : 0);
      WEFT_RETURN_IF_ERROR(comm.AllGather(mine, all));
      for (int r = 0; r < size && !all.empty(); ++r) {
        const auto begin = all.begin() + r * static_cast<int64_t>(count);
        const std::vector<float> expected = Data(r, count, round);
        if (!std::equal(expected.begin(), expected.end(), begin)) return Internal("gathered");
      }
      const int root = static_cast<int>(round) % size;
      std::vector<std::byte> bytes(round == 5 ? 600'001 : round * 3, std::byte(rank));
      WEFT_RETURN_IF_ERROR(comm.Broadcast(bytes, root));
      for (const std::byte b : bytes) {
        if (b != std::byte(root)) return Internal("broadcast");
      }
      // A ring, each rank sending before it receives.
      std::vector<float> from(count);
      WEFT_RETURN_IF_ERROR(comm.Send(mine, (rank + 1) % size));
      WEFT_RETURN_IF_ERROR(comm.Recv(from, (rank + size - 1) % size));
      if (from != Data((rank + size - 1) % size, count, round)) return Internal("ring");
      WEFT_RETURN_IF_ERROR(comm.Barrier());
    }
    return absl::OkStatus();
  }));
}

TEST_CASE("A stage may run ahead of the next one, and no further than its messages allow",
          "[comm]") {
  Ranks ranks = MakeRanks(2);
  std::atomic<int> sent{0};
  CheckOk(OnAll(ranks, [&](Communicator& comm) -> absl::Status {
    for (int i = 0; i < 100; ++i) {
      float value = static_cast<float>(i);
      if (comm.rank() == 0) {
        WEFT_RETURN_IF_ERROR(comm.Send({&value, 1}, 1));
        ++sent;
      } else {
        if (sent.load() > i + 2) return Internal("{} messages before {} is taken", sent.load(), i);
        WEFT_RETURN_IF_ERROR(comm.Recv({&value, 1}, 0));
        if (value != static_cast<float>(i)) return Internal("out of order");
      }
    }
    return absl::OkStatus();
  }));
}

TEST_CASE("A rank that does not come is named by all within the timeout", "[comm]") {
  const int missing = GENERATE(0, 1, 2);
  const bool message = missing == 1;
  Ranks ranks = MakeRanks(3, milliseconds(1'000));
  const auto begin = std::chrono::steady_clock::now();
  const auto results = OnAll(ranks, [&](Communicator& comm) -> absl::Status {
    std::vector<float> data(3);
    WEFT_RETURN_IF_ERROR(comm.AllReduceSum(data));
    if (comm.rank() == missing) return absl::OkStatus();
    return message ? comm.Recv(data, missing) : comm.AllReduceSum(data);
  });
  CHECK(std::chrono::steady_clock::now() - begin < std::chrono::seconds(15));
  for (int r = 0; r < 3; ++r) {
    const absl::Status& status = results[static_cast<size_t>(r)];
    if (r == missing) continue;
    CHECK(status.code() == absl::StatusCode::kUnavailable);
    CHECK_THAT(std::string(Message(status)),
               ContainsSubstring("1000 ms for rank " + std::to_string(missing)));
    CHECK(status == ranks[0]->status());
  }
  // Whoever comes late learns it at once.
  std::vector<float> data(3);
  Communicator& late = *ranks[static_cast<size_t>(missing)];
  CHECK(late.AllReduceSum(data) == ranks[0]->status());
  CHECK(late.Recv(data, (missing + 1) % 3) == ranks[0]->status());
  CHECK(late.Barrier() == ranks[0]->status());
}

// A thread that a signal keeps where it is, like one that the system has stopped.
std::atomic<bool> stopped{false}, go_on{false};
void StayHere(int) {
  stopped = true;
  while (!go_on) usleep(1000);
}

TEST_CASE("A rank that is stopped while it waits keeps nobody longer than the timeout", "[comm]") {
  struct sigaction action = {};
  action.sa_handler = StayHere;
  REQUIRE(sigaction(SIGUSR1, &action, nullptr) == 0);
  stopped = go_on = false;
  Ranks ranks = MakeRanks(4, milliseconds(500));
  std::atomic<bool> here{false};
  std::atomic<pthread_t> waiting{};
  std::thread last([&] {
    waiting = pthread_self();
    here = true;
    (void)ranks[3]->Barrier();
    (void)ranks[3]->Barrier();
  });
  while (!here) usleep(1000);
  // Asleep in the first barrier, where the others find it; they then wait for it in the second.
  pthread_kill(waiting, SIGUSR1);
  while (!stopped) usleep(1000);
  std::vector<absl::Status> results(3);
  std::vector<std::thread> threads;
  const auto begin = std::chrono::steady_clock::now();
  for (size_t r = 0; r < 3; ++r) {
    threads.emplace_back([&, r] {
      for (int i = 0; i < 5 && results[r].ok(); ++i) results[r] = ranks[r]->Barrier();
    });
  }
  for (std::thread& thread : threads) thread.join();
  const auto took = std::chrono::steady_clock::now() - begin;
  CHECK(took >= milliseconds(400));
  CHECK(took < milliseconds(10'000));
  for (const absl::Status& status : results) {
    CHECK_THAT(ToString(status), ContainsSubstring("for rank 3 in Barrier"));
  }
  go_on = true;
  last.join();
}

TEST_CASE("A rank that gives up ends the waiting of all, in every group that shares its fate",
          "[comm]") {
  const auto fate = MakeFate();
  Ranks ranks = *MakeInProcessGroup({.size = 3, .timeout = milliseconds(60'000), .fate = fate});
  Ranks others = *MakeInProcessGroup({.size = 2, .timeout = milliseconds(60'000), .fate = fate});
  absl::Status elsewhere;
  std::thread waits([&] { elsewhere = others[0]->Barrier(); });
  const auto results = OnAll(ranks, [&](Communicator& comm) -> absl::Status {
    std::vector<float> data(3);
    if (comm.rank() == 1) {
      comm.Abort(Internal("out of cheese"));
      comm.Abort(Internal("again"));
      return comm.status();
    }
    return comm.rank() == 0 ? comm.AllReduceSum(data) : comm.Recv(data, 1);
  });
  waits.join();
  for (const absl::Status& status : results) {
    CHECK(status.code() == absl::StatusCode::kAborted);
    CHECK(Message(status) == "rank 1 gave up: out of cheese");
  }
  CHECK(elsewhere == results[0]);
}

TEST_CASE("Ranks that mean different calls fail together instead of mixing them up", "[comm]") {
  Ranks ranks = MakeRanks(2);
  const bool size = GENERATE(true, false);
  const auto results = OnAll(ranks, [&](Communicator& comm) -> absl::Status {
    std::vector<float> data(comm.rank() == 0 || !size ? 4 : 5);
    return comm.rank() == 0 || size ? comm.AllReduceSum(data) : comm.AllGather(data, {});
  });
  for (const absl::Status& status : results) {
    CHECK(status.code() == absl::StatusCode::kInternal);
    CHECK_THAT(std::string(Message(status)), ContainsSubstring("AllReduceSum of 16"));
  }
}

TEST_CASE("What cannot be is refused", "[comm]") {
  CHECK(Message(MakeInProcessGroup({.size = 0}).status()).starts_with("size:"));
  CHECK(Message(MakeInProcessGroup({.size = 65}).status()).starts_with("size:"));
  CHECK(Message(MakeInProcessGroup({.timeout = milliseconds(0)}).status()).starts_with("timeout:"));
  float x = 1;
  CHECK(MakeRanks(2)[0]->Send({&x, 1}, 0).code() == absl::StatusCode::kInvalidArgument);
  CHECK(MakeRanks(2)[0]->Recv({&x, 1}, 2).code() == absl::StatusCode::kInvalidArgument);
  CHECK(MakeRanks(2)[1]->Broadcast({}, -1).code() == absl::StatusCode::kInvalidArgument);
  CHECK(MakeRanks(2)[1]->AllGather({&x, 1}, {&x, 1}).code() == absl::StatusCode::kInvalidArgument);
}

TEST_CASE("Many calls from ranks that spin and park lose none", "[comm]") {
  auto made = MakeInProcessGroup({.size = 4, .spin = std::chrono::microseconds(20)});
  REQUIRE(made.ok());
  CheckOk(OnAll(*made, [](Communicator& comm) -> absl::Status {
    float total = 0;
    for (int i = 0; i < 500; ++i) {
      float one = 1;
      WEFT_RETURN_IF_ERROR(comm.AllReduceSum({&one, 1}));
      total += one;
    }
    return total == 2000 ? absl::OkStatus() : Internal("{}", total);
  }));
}

}  // namespace
}  // namespace weft::comm
