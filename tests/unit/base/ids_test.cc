#include "libs/base/ids.h"

#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cstring>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "tests/support/catch.h"

namespace weft {

TEST_CASE("Request ids are UUIDv7 and sort by time", "[base]") {
  FakeClock clock;
  const std::string first = NewRequestId(clock);
  clock.Advance(std::chrono::milliseconds(1));
  const std::string second = NewRequestId(clock);
  REQUIRE(first.size() == 36);
  CHECK(first[14] == '7');
  CHECK(std::string("89ab").find(first[19]) != std::string::npos);
  CHECK(first < second);
}

TEST_CASE("A request id has its hyphens where RFC 9562 puts them", "[base]") {
  const std::string id = NewRequestId();
  for (size_t i = 0; i < id.size(); ++i) {
    const bool hyphen = i == 8 || i == 13 || i == 18 || i == 23;
    INFO(id);
    CHECK((id[i] == '-') == hyphen);
    CHECK((hyphen || std::strchr("0123456789abcdef", id[i]) != nullptr));
  }
}

TEST_CASE("Id bytes repeat neither within a thread nor between threads", "[base]") {
  constexpr int kEach = 5000;  // many times what a thread fetches at once
  std::vector<std::vector<std::string>> made(4);
  std::vector<std::thread> threads;
  for (auto& ids : made) {
    threads.emplace_back([&ids] {
      for (int i = 0; i < kEach; ++i) {
        std::array<uint8_t, 16> bytes{};
        RandomIdBytes(bytes);
        ids.push_back(Hex(bytes));
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  std::set<std::string> all;
  for (const auto& ids : made) all.insert(ids.begin(), ids.end());
  CHECK(all.size() == made.size() * kEach);
}

TEST_CASE("Id bytes of any length are filled", "[base]") {
  for (const size_t size : {0u, 1u, 7u, 1023u, 1024u, 1025u, 5000u}) {
    std::vector<uint8_t> bytes(size, 0);
    RandomIdBytes(bytes);
    // Of 1023 random bytes all zero in the last seven: 2^-56.
    if (size >= 7) {
      CHECK(std::vector<uint8_t>(bytes.end() - 7, bytes.end()) != std::vector<uint8_t>(7, 0));
    }
  }
}

TEST_CASE("A forked child does not repeat its parent's id bytes", "[base]") {
  std::array<uint8_t, 16> bytes{};
  RandomIdBytes(bytes);  // the parent has a block now, and the child a copy of it
  int ends[2];
  REQUIRE(pipe(ends) == 0);
  const pid_t child = fork();
  REQUIRE(child >= 0);
  if (child == 0) {
    RandomIdBytes(bytes);
    _exit(write(ends[1], bytes.data(), bytes.size()) == 16 ? 0 : 1);
  }
  std::array<uint8_t, 16> from_child{};
  CHECK(read(ends[0], from_child.data(), from_child.size()) == 16);
  int status = -1;
  CHECK(waitpid(child, &status, 0) == child);
  CHECK(status == 0);
  close(ends[0]);
  close(ends[1]);
  RandomIdBytes(bytes);
  CHECK(bytes != from_child);
}

TEST_CASE("ParseHex takes exactly the hex of the right length", "[base]") {
  std::array<uint8_t, 3> out{};
  CHECK(ParseHex("00fFa1", out));
  CHECK(Hex(out) == "00ffa1");
  CHECK_FALSE(ParseHex("00ff", out));
  CHECK_FALSE(ParseHex("00ffg1", out));
}

TEST_CASE("Rfc3339 gives microseconds in UTC", "[base]") {
  CHECK(Rfc3339(WallTime(std::chrono::microseconds(1'700'000'000'000'001))) ==
        "2023-11-14T22:13:20.000001Z");
}

}  // namespace weft
