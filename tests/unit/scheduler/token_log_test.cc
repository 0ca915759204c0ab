#include "services/scheduler/token_log.h"

#include "tests/support/catch.h"

using weft::scheduler::Appended;
using weft::scheduler::TokenLog;

TEST_CASE("TokenLog appends only the current attempt at its end", "[scheduler]") {
  TokenLog log;
  const std::vector<uint32_t> two = {7, 8};
  CHECK(log.Append(1, 0, two) == Appended::kStale);  // no attempt has begun

  REQUIRE(log.BeginAttempt() == 1);
  CHECK(log.Append(1, 0, two) == Appended::kOk);
  CHECK(log.Append(1, 0, two) == Appended::kGap);  // a repeat
  CHECK(log.Append(1, 3, two) == Appended::kGap);  // a hole
  CHECK(log.Append(2, 2, two) == Appended::kStale);
  CHECK(log.tokens() == two);
}

TEST_CASE("TokenLog refuses rows of a worker that was given up", "[scheduler]") {
  TokenLog log;
  log.BeginAttempt();
  REQUIRE(log.Append(1, 0, std::vector<uint32_t>{7}) == Appended::kOk);
  log.EndAttempt();
  CHECK(log.Append(1, 1, std::vector<uint32_t>{8}) == Appended::kStale);
  const uint32_t attempt = log.BeginAttempt();
  CHECK(attempt > 1);
  CHECK(log.Append(1, 1, std::vector<uint32_t>{8}) == Appended::kStale);
  CHECK(log.Append(attempt, 1, std::vector<uint32_t>{9}) == Appended::kOk);
  CHECK(log.tokens() == std::vector<uint32_t>{7, 9});
}

TEST_CASE("TokenLog goes on where another scheduler's log ended", "[scheduler]") {
  TokenLog log(std::vector<uint32_t>{1, 2, 3});
  const uint32_t attempt = log.BeginAttempt();
  CHECK(log.Append(attempt, 0, std::vector<uint32_t>{4}) == Appended::kGap);
  CHECK(log.Append(attempt, 3, std::vector<uint32_t>{4}) == Appended::kOk);
  CHECK(log.size() == 4);
}
