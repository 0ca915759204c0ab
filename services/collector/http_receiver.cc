#include <algorithm>

#include "libs/base/error_info.h"
#include "libs/base/status.h"
#include "libs/http/message.h"
#include "libs/spans/gzip.h"
#include "libs/spans/otlp_json.h"
#include "services/collector/otlp_codec.h"
#include "services/collector/receivers.h"

namespace weft::collector {
namespace {

constexpr std::string_view kProto = "application/x-protobuf";
constexpr std::string_view kJson = "application/json";

// The media type without its parameters.
std::string_view MediaType(std::string_view value) {
  value = value.substr(0, value.find(';'));
  while (!value.empty() && value.front() == ' ') value.remove_prefix(1);
  while (!value.empty() && value.back() == ' ') value.remove_suffix(1);
  return value;
}

http::Response Answer(int status, bool json, std::string body) {
  http::Response response;
  response.status = status;
  response.headers.Set("Content-Type", json ? kJson : kProto);
  response.body = std::move(body);
  return response;
}

int HttpStatus(const absl::Status& status) {
  switch (status.code()) {
    case absl::StatusCode::kInvalidArgument:
      return 400;
    case absl::StatusCode::kOutOfRange:
      return 413;
    case absl::StatusCode::kUnimplemented:
      return 415;
    case absl::StatusCode::kResourceExhausted:
    case absl::StatusCode::kUnavailable:
      return 503;
    default:
      return 500;
  }
}

http::Response Refusal(const absl::Status& status, bool json) {
  http::Response response =
      Answer(HttpStatus(status), json, json ? StatusJson(status) : StatusProto(status));
  if (const auto wait = RetryAfterOf(status)) {
    const auto seconds = std::max<int64_t>(1, (wait->count() + 999) / 1000);
    response.headers.Set("Retry-After", std::to_string(seconds));
  }
  return response;
}

absl::StatusOr<spans::Spans> Decode(const http::Request& request, bool json, size_t max_bytes) {
  std::string unpacked;
  std::string_view body = request.body;
  const std::string_view encoding = request.headers.Get("Content-Encoding");
  if (http::EqualsIgnoreCase(encoding, "gzip")) {
    WEFT_ASSIGN_OR_RETURN(unpacked, spans::Gunzip(body, max_bytes));
    body = unpacked;
  } else if (!encoding.empty() && !http::EqualsIgnoreCase(encoding, "identity")) {
    return Unimplemented("Content-Encoding '{}' is not supported: gzip or identity", encoding);
  }
  return json ? spans::ParseOtlpJson(body) : ParseOtlpProto(body);
}

http::Response Receive(const http::Request& request, spans::Intake& intake, size_t max_bytes) {
  const std::string_view type = MediaType(request.headers.Get("Content-Type"));
  const bool json = http::EqualsIgnoreCase(type, kJson);
  if (!json && !http::EqualsIgnoreCase(type, kProto)) {
    return Refusal(
        Unimplemented("Content-Type '{}' is not supported: {} or {}", type, kProto, kJson), true);
  }
  auto spans = Decode(request, json, max_bytes);
  if (!spans.ok()) return Refusal(spans.status(), json);
  const spans::Intake::Answer answer = intake.Take(*std::move(spans), "http");
  if (!answer.status.ok()) return Refusal(answer.status, json);
  return Answer(200, json,
                json ? ResponseJson(answer.rejected, answer.reason)
                     : ResponseProto(answer.rejected, answer.reason));
}

}  // namespace

absl::Status AddHttpReceiver(http::Router& router, spans::Intake& intake,
                             size_t max_request_bytes) {
  return router.Add("POST", "/v1/traces",
                    [&intake, max_request_bytes](const http::ExchangePtr& exchange) {
                      exchange->Send(Receive(exchange->request(), intake, max_request_bytes));
                    });
}

}  // namespace weft::collector
