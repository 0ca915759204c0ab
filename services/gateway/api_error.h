// Errors as OpenAI's API shows them.
#pragma once

#include <absl/status/status.h>

#include <chrono>
#include <optional>
#include <string>
#include <string_view>

#include "libs/http/message.h"

namespace weft::gateway {

struct ApiError {
  int status = 500;
  std::string message;
  std::string type = "invalid_request_error";
  std::string param;  // empty: null
  std::string code;   // empty: null
  std::optional<std::chrono::milliseconds> retry_after = std::nullopt;
};

// The one place where a status becomes an HTTP error. Messages of INTERNAL, UNKNOWN and DATA_LOSS
// never leave the process: they may hold paths.
ApiError ToApiError(const absl::Status& status);

// {"error":{"message":…,"type":…,"param":…,"code":…}}
std::string ErrorBody(const ApiError& error);
http::Response ErrorResponse(const ApiError& error);

// For the HTTP server's own errors (http::ErrorResponder).
http::Response ServerError(int status, std::string_view code, std::string_view message);

// Errors about one parameter, in OpenAI's words. They travel as statuses with payloads, so that
// REST and gRPC show the same.
absl::Status ParamError(std::string_view param, std::string_view code, std::string_view message);
absl::Status MissingParam(std::string_view param);
absl::Status UnsupportedParam(std::string_view param, std::string_view why);
absl::Status UnknownParam(std::string_view param, bool nested);
absl::Status ModelNotFound(std::string_view model);
// It has no worker now, but gets one because it was asked for. The code is kModelStarting.
absl::Status ModelStarting(std::string_view model);
inline constexpr std::string_view kModelStarting = "model_starting";
// Sets the `code` member. OK stays OK.
absl::Status WithErrorCode(absl::Status status, std::string_view code);
std::string ErrorCodeOf(const absl::Status& status);

}  // namespace weft::gateway
