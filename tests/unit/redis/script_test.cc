#include "libs/redis/script.h"

#include "libs/redis/reply.h"
#include "tests/support/catch.h"

namespace weft::redis {
namespace {

TEST_CASE("A script's name is the SHA-1 of its text", "[redis]") {
  CHECK(Script("return 1").sha1() == "e0e1f9fabfc9d4800c877a703b823ac0578ff8db");
}

TEST_CASE("Error replies become statuses by their first word", "[redis]") {
  const auto code = [](const char* text) {
    return ErrorOf({.kind = Reply::Kind::kError, .text = text}).code();
  };
  CHECK(code("LOADING Redis is loading the dataset in memory") == absl::StatusCode::kUnavailable);
  CHECK(code("READONLY You can't write against a read only replica.") ==
        absl::StatusCode::kUnavailable);
  CHECK(code("OOM command not allowed") == absl::StatusCode::kResourceExhausted);
  CHECK(code("NOAUTH Authentication required.") == absl::StatusCode::kPermissionDenied);
  CHECK(code("WRONGTYPE Operation against a key") == absl::StatusCode::kFailedPrecondition);
  CHECK(code("") == absl::StatusCode::kFailedPrecondition);
  CHECK(ErrorOf({.kind = Reply::Kind::kStatus, .text = "OK"}).ok());
}

}  // namespace
}  // namespace weft::redis
