#include "services/gateway/unary_calls.h"

#include <string>
#include <vector>

#include "libs/base/error_info.h"
#include "tests/support/catch.h"

namespace weft::gateway {
namespace {

using std::chrono_literals::operator""s;

// A server made of the statuses that it answers with, one for each attempt; then OK.
struct Server {
  std::vector<grpc::StatusCode> answers;
  size_t attempts = 0;

  auto Begin() {
    return [this](grpc::ClientContext*, const std::string* in, std::string* out, auto callback) {
      const size_t i = attempts++;
      if (i < answers.size() && answers[i] != grpc::OK) {
        *out = "half an answer";
        return callback(grpc::Status(answers[i], "attempt " + std::to_string(i)));
      }
      out->append("to " + *in);
      callback(grpc::Status());
    };
  }
};

absl::StatusOr<std::string> Ask(UnaryCalls& calls, Server& server) {
  absl::StatusOr<std::string> answer;
  int ends = 0;
  calls.Start<std::string, std::string>("you", 10s, server.Begin(),
                                        [&](absl::StatusOr<std::string> end) {
                                          answer = std::move(end);
                                          ++ends;
                                        });
  REQUIRE(ends == 1);
  return answer;
}

TEST_CASE("A call that found nobody is made once more, and starts with an empty answer",
          "[gateway]") {
  UnaryCalls calls;
  Server server{{grpc::UNAVAILABLE}};
  CHECK(Ask(calls, server).value() == "to you");
  CHECK(server.attempts == 2);

  Server away{{grpc::UNAVAILABLE, grpc::UNAVAILABLE, grpc::UNAVAILABLE}};
  CHECK(absl::IsUnavailable(Ask(calls, away).status()));
  CHECK(away.attempts == 2);

  Server refuses{{grpc::INVALID_ARGUMENT}};
  CHECK(absl::IsInvalidArgument(Ask(calls, refuses).status()));
  CHECK(refuses.attempts == 1);
}

TEST_CASE("Second attempts are a share of the calls", "[gateway]") {
  UnaryCalls calls;
  Server away{std::vector<grpc::StatusCode>(1000, grpc::UNAVAILABLE)};
  const int n = 100;
  for (int i = 0; i < n; ++i) CHECK_FALSE(Ask(calls, away).ok());
  CHECK(static_cast<double>(away.attempts) > n + kRetryBurst);
  CHECK(static_cast<double>(away.attempts) <= n + kRetryBurst + kRetryRatio * n);
}

TEST_CASE("A server that does not answer is left alone, then asked once", "[gateway]") {
  FakeClock clock;
  UnaryCalls calls({.failures_to_open = 3, .open_for = 5s}, clock);
  Server hangs{std::vector<grpc::StatusCode>(3, grpc::DEADLINE_EXCEEDED)};
  for (int i = 0; i < 3; ++i) CHECK(absl::IsDeadlineExceeded(Ask(calls, hangs).status()));

  const auto refused = Ask(calls, hangs);
  CHECK(absl::IsUnavailable(refused.status()));
  CHECK(RetryAfterOf(refused.status()) == 5s);
  CHECK(hangs.attempts == 3);
  clock.Advance(5s);
  CHECK(Ask(calls, hangs).ok());
  CHECK(Ask(calls, hangs).ok());

  // Refusals are answers: they open nothing.
  Server refuses{std::vector<grpc::StatusCode>(10, grpc::INVALID_ARGUMENT)};
  for (int i = 0; i < 10; ++i) CHECK(absl::IsInvalidArgument(Ask(calls, refuses).status()));
}

TEST_CASE("After Stop calls end at once, each with an error", "[gateway]") {
  UnaryCalls calls;
  calls.Stop();
  Server server{{}};
  CHECK(absl::IsCancelled(Ask(calls, server).status()));
  CHECK(server.attempts == 0);
}

}  // namespace
}  // namespace weft::gateway
