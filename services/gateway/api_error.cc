#include "services/gateway/api_error.h"

#include <absl/strings/cord.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "libs/base/error_info.h"
#include "libs/base/status.h"
#include "libs/identity/api_key.h"
#include "libs/identity/jwt.h"
#include "libs/limits/rate_limiter.h"

namespace weft::gateway {
namespace {

constexpr char kCodePayload[] = "weft.gateway.error_code";

int HttpStatus(absl::StatusCode code) {
  switch (code) {
    case absl::StatusCode::kInvalidArgument:
    case absl::StatusCode::kOutOfRange:
    case absl::StatusCode::kFailedPrecondition:
    case absl::StatusCode::kUnimplemented:
      return 400;
    case absl::StatusCode::kUnauthenticated:
      return 401;
    case absl::StatusCode::kPermissionDenied:
      return 403;
    case absl::StatusCode::kNotFound:
      return 404;
    case absl::StatusCode::kAlreadyExists:
      return 409;
    case absl::StatusCode::kResourceExhausted:
      return 429;
    case absl::StatusCode::kCancelled:
      return 499;
    case absl::StatusCode::kUnavailable:
      return 503;
    case absl::StatusCode::kDeadlineExceeded:
      return 504;
    default:
      return 500;
  }
}

// Like the JSON library: control characters escaped, invalid UTF-8 replaced. Most texts need
// neither, and a refusal must not cost more than a request.
void AppendJson(std::string& out, std::string_view text) {
  const bool plain = std::all_of(text.begin(), text.end(), [](char c) {
    return static_cast<unsigned char>(c) < 0x7f && c >= 0x20 && c != '"' && c != '\\';
  });
  if (plain) {
    out.append("\"").append(text).append("\"");
  } else {
    out += nlohmann::json(text).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
  }
}

constexpr std::pair<std::string_view, std::string_view> kTokenCodes[] = {
    {identity::kTokenExpired, "token_expired"},
    {identity::kTokenInvalid, "invalid_token"},
    {identity::kTokenWithoutSubject, "invalid_credentials"}};

std::string_view CodeOfUnauthenticated(std::string_view message) {
  for (const auto& [text, code] : kTokenCodes) {
    if (text == message) return code;
  }
  return "invalid_api_key";
}

}  // namespace

absl::Status WithErrorCode(absl::Status status, std::string_view code) {
  if (!status.ok()) status.SetPayload(kCodePayload, absl::Cord(AbslView(code)));
  return status;
}

std::string ErrorCodeOf(const absl::Status& status) {
  const auto payload = status.GetPayload(kCodePayload);
  return payload ? std::string(*payload) : std::string();
}

ApiError ToApiError(const absl::Status& status) {
  ApiError error;
  error.status = HttpStatus(status.code());
  // They repeat what was sent, which may hold a key by mistake.
  error.message = identity::RedactSecrets(Message(status));
  error.param = identity::RedactSecrets(FieldOf(status));
  error.code = ErrorCodeOf(status);
  error.retry_after = RetryAfterOf(status);
  switch (error.status) {
    case 401:
      if (error.code.empty()) error.code = CodeOfUnauthenticated(error.message);
      break;
    case 403:
      if (error.code.empty()) error.code = "insufficient_permissions";
      break;
    case 429:
      error.type = "requests";
      if (error.code.empty()) error.code = "rate_limit_exceeded";
      // Waiting does not help a request that is larger than its limit.
      if (!error.retry_after && error.code != "request_too_large") {
        error.retry_after = std::chrono::seconds(1);
      }
      break;
    case 499:
      error.code = "request_cancelled";
      break;
    case 500:
      error.message = "The server had an error while processing your request. Sorry about that!";
      error.type = "server_error";
      error.param.clear();
      error.code = "internal_error";
      break;
    case 503:
      error.type = "server_error";
      if (error.code.empty()) error.code = "service_unavailable";
      if (!error.retry_after) error.retry_after = std::chrono::seconds(1);
      break;
    case 504:
      error.type = "server_error";
      if (error.code.empty()) error.code = "timeout";
      break;
    default:
      break;
  }
  return error;
}

std::string ErrorBody(const ApiError& error) {
  std::string body;
  body.reserve(96 + error.message.size() + error.type.size() + error.param.size() +
               error.code.size());
  const auto append = [&body](std::string_view key, std::string_view text, bool nullable) {
    body += key;
    if (nullable && text.empty()) {
      body += "null";
    } else {
      AppendJson(body, text);
    }
  };
  append(R"({"error":{"message":)", error.message, false);
  append(R"(,"type":)", error.type, false);
  append(R"(,"param":)", error.param, true);
  append(R"(,"code":)", error.code, true);
  body += "}}";
  return body;
}

http::Response ErrorResponse(const ApiError& error) {
  http::Response response = http::Response::Json(error.status, ErrorBody(error));
  if (error.retry_after) {
    response.headers.Set("Retry-After", limits::RetryAfterHeader(*error.retry_after));
  }
  if (error.status == 401) {
    response.headers.Set("WWW-Authenticate", "Bearer");
    // Requirement 004's shape beside ours; the texts are its own and need no escapes.
    if (CodeOfUnauthenticated(error.message) == error.code && error.code != "invalid_api_key") {
      response.body.insert(1, fmt::format(R"("detail":"{}",)", error.message));
    }
  }
  return response;
}

http::Response ServerError(int status, std::string_view code, std::string_view message) {
  ApiError error;
  error.status = status;
  error.message = message;
  error.code = code;
  if (status == 404) {
    error.code = "unknown_url";
  } else if (status >= 500) {
    error.type = "server_error";
  }
  return ErrorResponse(error);
}

absl::Status ParamError(std::string_view param, std::string_view code, std::string_view message) {
  return WithErrorCode(WithField(MakeStatus(absl::StatusCode::kInvalidArgument, message), param),
                       code);
}

absl::Status MissingParam(std::string_view param) {
  return ParamError(param, "missing_required_parameter",
                    fmt::format("Missing required parameter: '{}'.", param));
}

absl::Status UnsupportedParam(std::string_view param, std::string_view why) {
  return ParamError(param, "unsupported_parameter",
                    fmt::format("Unsupported parameter: '{}' {}.", param, why));
}

absl::Status UnknownParam(std::string_view param, bool nested) {
  std::string shown;
  for (const char c : param.substr(0, 64)) shown.push_back(c >= 0x20 && c < 0x7f ? c : '?');
  if (nested) {
    return ParamError(shown, "unknown_parameter", fmt::format("Unknown parameter: '{}'.", shown));
  }
  return InvalidArgument("Unrecognized request argument supplied: {}", shown);
}

absl::Status ModelNotFound(std::string_view model) {
  return WithErrorCode(
      NotFound("The model `{}` does not exist or you do not have access to it.", model),
      "model_not_found");
}

absl::Status ModelStarting(std::string_view model) {
  return WithErrorCode(
      WithRetryAfter(Unavailable("The model `{}` is being started. Please try again.", model),
                     std::chrono::seconds(10)),
      kModelStarting);
}

}  // namespace weft::gateway
