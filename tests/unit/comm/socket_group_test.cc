#include "libs/comm/socket_group.h"

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmath>
#include <functional>
#include <random>
#include <string>
#include <thread>

#include "libs/base/status.h"
#include "libs/comm/in_process.h"
#include "libs/comm/peer_socket.h"
#include "tests/support/catch.h"
#include "tests/support/temp_dir.h"

namespace weft::comm {
namespace {

using std::chrono::milliseconds;

std::vector<std::string> Addresses(const test::TempDir& folder, int size) {
  std::vector<std::string> addresses;
  for (int r = 0; r < size; ++r) {
    addresses.push_back("unix:" + folder.File(std::to_string(r)));
  }
  return addresses;
}

SocketOptions Options(const test::TempDir& folder, int rank, int size, milliseconds timeout) {
  SocketOptions options;
  options.rank = rank;
  options.addresses = Addresses(folder, size);
  options.group_id = "the test's";
  options.timeout = timeout;
  return options;
}

// Every rank's result of `fn`, each on a thread of its own with a group of its own.
std::vector<absl::Status> OnAll(int size, const std::function<absl::Status(Communicator&)>& fn,
                                milliseconds timeout = milliseconds(20'000)) {
  const test::TempDir folder;
  std::vector<absl::Status> results(static_cast<size_t>(size));
  std::vector<std::thread> threads;
  for (int r = 0; r < size; ++r) {
    threads.emplace_back([&, r] {
      auto rank = JoinSocketGroup(Options(folder, r, size, timeout));
      results[static_cast<size_t>(r)] = rank.ok() ? fn(**rank) : rank.status();
    });
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

std::vector<float> Data(int rank, size_t size) {
  std::mt19937 random(static_cast<uint32_t>(rank) + 1);
  std::vector<float> data(size);
  for (float& x : data) {
    x = std::ldexp(static_cast<float>(random() % 2001) - 1000.0f, static_cast<int>(random() % 40));
  }
  return data;
}

absl::Status Expect(bool what, const char* text) {
  return what ? absl::OkStatus() : Internal("{}", text);
}

TEST_CASE("Sums over sockets have the bits of sums in one process", "[comm]") {
  const int size = GENERATE(1, 2, 3, 5);
  // The last is more than a connection's buffers hold.
  for (const size_t count : {size_t{0}, size_t{1}, size_t{1000}, size_t{300'000}}) {
    std::vector<float> expected = Data(0, count);
    for (int r = 1; r < size; ++r) {
      const std::vector<float> more = Data(r, count);
      for (size_t i = 0; i < count; ++i) expected[i] += more[i];
    }
    CheckOk(OnAll(size, [&](Communicator& rank) -> absl::Status {
      std::vector<float> data = Data(rank.rank(), count);
      WEFT_RETURN_IF_ERROR(rank.AllReduceSum(data));
      return Expect(data == expected, "another sum");
    }));
  }
}

TEST_CASE("Ranks in processes gather, broadcast, meet, and pass messages on", "[comm]") {
  CheckOk(OnAll(3, [](Communicator& rank) -> absl::Status {
    const float mine[2] = {static_cast<float>(rank.rank()), 10.0f};
    std::vector<float> all(rank.rank() == 1 ? 0 : 6);  // rank 1 does not want it
    WEFT_RETURN_IF_ERROR(rank.AllGather(mine, all));
    if (!all.empty()) {
      WEFT_RETURN_IF_ERROR(Expect(all == std::vector<float>{0, 10, 1, 10, 2, 10}, "gathered"));
    }
    std::string text = rank.rank() == 2 ? "from two" : "........";
    WEFT_RETURN_IF_ERROR(rank.Broadcast(std::as_writable_bytes(std::span(text)), 2));
    WEFT_RETURN_IF_ERROR(Expect(text == "from two", "broadcast"));
    WEFT_RETURN_IF_ERROR(rank.Barrier());
    float value = 1;
    for (int round = 0; round < 50; ++round) {  // around the ring
      if (rank.rank() > 0) WEFT_RETURN_IF_ERROR(rank.Recv({&value, 1}, rank.rank() - 1));
      value += 1;
      if (rank.rank() < 2) WEFT_RETURN_IF_ERROR(rank.Send({&value, 1}, rank.rank() + 1));
      if (rank.rank() == 2)
        WEFT_RETURN_IF_ERROR(Expect(value == static_cast<float>(round) + 4, "passed"));
    }
    return rank.Barrier();
  }));
}

TEST_CASE("A process that does not come, or calls something else, is named by all", "[comm]") {
  const auto late = OnAll(
      3,
      [](Communicator& rank) -> absl::Status {
        if (rank.rank() == 1) std::this_thread::sleep_for(milliseconds(1500));
        return rank.Barrier();
      },
      milliseconds(500));
  CHECK_THAT(ToString(late[0]), ContainsSubstring("has waited 500 ms for rank 1 in Barrier") ||
                                    ContainsSubstring("is lost to rank 0"));
  CHECK_FALSE(late[1].ok());
  CHECK_FALSE(late[2].ok());
  const auto mixed = OnAll(2, [](Communicator& rank) -> absl::Status {
    std::vector<float> data(static_cast<size_t>(rank.rank()) + 1);
    return rank.AllReduceSum(data);
  });
  CHECK_THAT(ToString(mixed[0]) + ToString(mixed[1]),
             ContainsSubstring("calls AllReduceSum of 4 bytes") ||
                 ContainsSubstring("calls AllReduceSum of 8 bytes"));
}

TEST_CASE("A rank whose process is killed ends the group at once", "[comm]") {
  const test::TempDir folder;
  constexpr int kSize = 3;
  constexpr milliseconds kTimeout{30'000};
  int ready[2];
  REQUIRE(pipe(ready) == 0);
  const pid_t child = fork();
  REQUIRE(child >= 0);
  if (child == 0) {
    auto rank = JoinSocketGroup(Options(folder, 2, kSize, kTimeout));
    const char joined = rank.ok() && (*rank)->Barrier().ok() ? 'y' : 'n';
    if (write(ready[1], &joined, 1) != 1) _exit(1);
    while (true) pause();
  }
  std::vector<absl::Status> results(2);
  std::vector<std::chrono::steady_clock::duration> took(2);
  std::vector<std::thread> threads;
  for (int r = 0; r < 2; ++r) {
    threads.emplace_back([&, r] {
      const auto index = static_cast<size_t>(r);
      auto rank = JoinSocketGroup(Options(folder, r, kSize, kTimeout));
      if (!rank.ok() || !(*rank)->Barrier().ok()) return;
      const auto begin = std::chrono::steady_clock::now();
      results[index] = (*rank)->Barrier();  // to which rank 2 never comes
      took[index] = std::chrono::steady_clock::now() - begin;
    });
  }
  char joined = 'n';
  REQUIRE(read(ready[0], &joined, 1) == 1);
  CHECK(joined == 'y');
  kill(child, SIGKILL);
  for (std::thread& thread : threads) thread.join();
  waitpid(child, nullptr, 0);
  close(ready[0]);
  close(ready[1]);
  for (size_t r = 0; r < 2; ++r) {
    CHECK_THAT(ToString(results[r]), ContainsSubstring("is lost to rank"));
    CHECK(took[r] < kTimeout / 2);
  }
}

TEST_CASE("A rank that gives up ends the waiting of processes", "[comm]") {
  const auto results = OnAll(3, [](Communicator& rank) -> absl::Status {
    if (rank.rank() == 1) {
      rank.Abort(Internal("the test's reason"));
      return rank.Barrier();
    }
    return rank.Barrier();
  });
  CHECK_THAT(ToString(results[1]), ContainsSubstring("rank 1 gave up: the test's reason"));
  CHECK_FALSE(results[0].ok());
  CHECK_FALSE(results[2].ok());
}

TEST_CASE("Strangers are turned away while a group is joined", "[comm]") {
  const test::TempDir folder;
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(20);
  absl::StatusOr<std::unique_ptr<Communicator>> first = Internal("not joined"),
                                                second = first.status();
  std::thread rank([&] { first = JoinSocketGroup(Options(folder, 0, 2, milliseconds(20'000))); });
  {
    const auto silent = ConnectTo(Addresses(folder, 1)[0], deadline);
    REQUIRE(silent.ok());
  }
  SocketOptions other = Options(folder, 1, 2, milliseconds(20'000));
  other.group_id = "another's";
  CHECK_THAT(ToString(JoinSocketGroup(other).status()), ContainsSubstring("rank 0 at unix:"));
  second = JoinSocketGroup(Options(folder, 1, 2, milliseconds(20'000)));
  rank.join();
  CHECK(first.ok());
  CHECK(second.ok());
}

TEST_CASE("Groups over sockets that cannot be are refused", "[comm]") {
  SocketOptions options;
  CHECK_THAT(ToString(options.Validate()), ContainsSubstring("addresses: expected 1 to"));
  options.addresses = {"127.0.0.1:9000", "localhost:9000"};
  options.group_id = "x";
  CHECK_THAT(ToString(options.Validate()), ContainsSubstring("addresses[1]"));
  options.addresses[1] = "unix:";
  CHECK_THAT(ToString(options.Validate()), ContainsSubstring("expected a path"));
  options.addresses[1] = "[::1]:9001";
  CHECK(options.Validate().ok());
  options.rank = 2;
  CHECK_THAT(ToString(options.Validate()), ContainsSubstring("rank: 2"));
  options.rank = 1;
  options.group_id.clear();
  CHECK_THAT(ToString(options.Validate()), ContainsSubstring("group_id"));
}

TEST_CASE("Ranks meet over TCP too", "[comm]") {
  // A free port, which somebody else could take meanwhile: then another.
  for (int attempt = 0;; ++attempt) {
    const int port = 20'000 + (getpid() * 7 + attempt * 101) % 40'000;
    SocketOptions options;
    options.addresses = {fmt::format("127.0.0.1:{}", port), fmt::format("127.0.0.1:{}", port + 1)};
    options.group_id = fmt::format("test {}", getpid());
    options.timeout = milliseconds(5'000);
    std::vector<absl::Status> results(2);
    std::vector<std::thread> threads;
    for (int r = 0; r < 2; ++r) {
      threads.emplace_back([&, r] {
        SocketOptions own = options;
        own.rank = r;
        auto rank = JoinSocketGroup(own);
        std::vector<float> data = {1.0f, 2.0f};
        results[static_cast<size_t>(r)] = rank.ok() ? (*rank)->AllReduceSum(data) : rank.status();
        if (rank.ok() && data != std::vector<float>{2.0f, 4.0f}) {
          results[static_cast<size_t>(r)] = Internal("another sum");
        }
      });
    }
    for (std::thread& thread : threads) thread.join();
    if (attempt < 5 && !(results[0].ok() && results[1].ok())) continue;
    CheckOk(results);
    break;
  }
}

}  // namespace
}  // namespace weft::comm
