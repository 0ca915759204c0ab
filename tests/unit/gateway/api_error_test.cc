#include "services/gateway/api_error.h"

#include <nlohmann/json.hpp>
#include <string>

#include "libs/base/error_info.h"
#include "libs/base/status.h"
#include "tests/support/catch.h"

using weft::gateway::ErrorBody;
using weft::gateway::ToApiError;

TEST_CASE("An internal error never shows what it holds", "[gateway]") {
  for (const auto& status :
       {weft::Internal("open /etc/shadow failed"), weft::DataLoss("/var/lib/x.db is damaged"),
        absl::Status(absl::StatusCode::kUnknown, "std::bad_alloc at 0x7f")}) {
    const auto error = ToApiError(status);
    CHECK(error.status == 500);
    CHECK(error.type == "server_error");
    const std::string body = ErrorBody(error);
    CHECK(body.find('/') == std::string::npos);
    CHECK(body.find("0x") == std::string::npos);
  }
}

TEST_CASE("An error's body is what the JSON library would write, whatever its texts hold",
          "[gateway]") {
  for (const std::string text :
       {"plain", "a \"quote\" and a \\", "line\nfeed\ttab", "control \x01\x1f", "del \x7f",
        "déjà 世界", "bad utf-8 \xff\xc3(", "cut \xe4\xb8"}) {
    weft::gateway::ApiError error;
    error.status = 400;
    error.message = text;
    error.param = text;
    const nlohmann::ordered_json expected = {{"error",
                                              {{"message", text},
                                               {"type", "invalid_request_error"},
                                               {"param", text},
                                               {"code", nullptr}}}};
    CHECK(ErrorBody(error) ==
          expected.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace));
  }
}

TEST_CASE("Statuses map to OpenAI's codes", "[gateway]") {
  CHECK(ToApiError(weft::InvalidArgument("x")).status == 400);
  CHECK(ToApiError(weft::Unauthenticated("x")).code == "invalid_api_key");
  CHECK(ToApiError(weft::PermissionDenied("x")).status == 403);
  CHECK(ToApiError(weft::gateway::ModelNotFound("m")).code == "model_not_found");
  CHECK(ToApiError(weft::gateway::ModelNotFound("m")).status == 404);
  const auto limited =
      ToApiError(weft::WithRetryAfter(weft::ResourceExhausted("x"), std::chrono::seconds(7)));
  CHECK(limited.status == 429);
  CHECK(weft::gateway::ErrorResponse(limited).headers.Get("Retry-After") == "7");
  CHECK(ToApiError(weft::Unavailable("x")).status == 503);
  CHECK(ToApiError(weft::DeadlineExceeded("x")).status == 504);
}

TEST_CASE("An error's body has all four members, null where there is nothing", "[gateway]") {
  CHECK(
      ErrorBody(ToApiError(weft::InvalidArgument("no \"x\""))) ==
      R"({"error":{"message":"no \"x\"","type":"invalid_request_error","param":null,"code":null}})");
}
