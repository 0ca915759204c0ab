#include "services/gateway/admin_call.h"

#include <charconv>
#include <nlohmann/json.hpp>

#include "libs/base/error_info.h"
#include "libs/base/status.h"
#include "libs/json/strict_json.h"

namespace weft::gateway {

using nlohmann::json;
using nlohmann::ordered_json;

bool Submit(const ApiDeps& deps, Work kind, std::function<void()> work) {
  ThreadPool* const threads = kind == Work::kLong ? deps.bulk : deps.blocking;
  return threads->TrySubmit(std::move(work));
}

absl::Status TooManyAdministrativeRequests() {
  return WithRetryAfter(ResourceExhausted("Too many administrative requests."),
                        std::chrono::seconds(1));
}

void Blocking(const ApiDeps& deps, const Call& call, Work kind, std::function<void()> work) {
  if (!Submit(deps, kind, std::move(work))) call.Fail(TooManyAdministrativeRequests());
}

std::string Query(const Call& call, std::string_view name) {
  return call.request().QueryParam(name).value_or("");
}

absl::StatusOr<int64_t> QueryNumber(const Call& call, std::string_view name, int64_t fallback,
                                    int64_t min, int64_t max) {
  const std::string text = Query(call, name);
  if (text.empty()) return fallback;
  int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || value < min || value > max) {
    return WithField(InvalidArgument("{}: must be an integer, {} to {}", name, min, max), name);
  }
  return value;
}

std::string Dump(const ordered_json& body) {
  return body.dump(-1, ' ', false, ordered_json::error_handler_t::replace);
}

void Answer(const Call& call, int status, const absl::StatusOr<ordered_json>& body) {
  if (!body.ok()) return call.Fail(body.status());
  call.SendJson(status, Dump(*body));
}

void WithBody(const ApiDeps& deps, const Call& call, Work kind, int status, BodyWork work) {
  auto body = ParseStrictJson(call.request().body);
  if (!body.ok()) return call.Fail(body.status());
  Blocking(deps, call, kind,
           [call, work = std::move(work), status, body = *std::move(body)]() mutable {
             Answer(call, status, work(std::move(body)));
           });
}

}  // namespace weft::gateway
