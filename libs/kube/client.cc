#include "libs/kube/client.h"

#include <fstream>

#include "libs/base/status.h"
#include "libs/fetch/http_call.h"
#include "libs/json/strict_json.h"

namespace weft::kube {
namespace {

using nlohmann::json;

absl::StatusCode CodeOf(int status, const std::string& reason) {
  switch (status) {
    case 401:
      return absl::StatusCode::kUnauthenticated;
    case 403:
      return absl::StatusCode::kPermissionDenied;
    case 404:
      return absl::StatusCode::kNotFound;
    case 409:
      return reason == "AlreadyExists" ? absl::StatusCode::kAlreadyExists
                                       : absl::StatusCode::kAborted;
    case 408:
    case 429:
      return absl::StatusCode::kUnavailable;
    default:
      return status >= 500 ? absl::StatusCode::kUnavailable : absl::StatusCode::kInvalidArgument;
  }
}

std::string TextOf(const json& object, const char* key) {
  const auto it = object.find(key);
  return it != object.end() && it->is_string() ? it->get<std::string>() : std::string();
}

}  // namespace

Client::Client(Access access, const std::atomic<bool>* cancel)
    : access_(std::move(access)), cancel_(cancel) {}

absl::StatusOr<json> Client::Call(const char* method, std::string_view path, const json* body,
                                  const char* type) const {
  fetch::HttpCall call;
  call.method = method;
  call.url = access_.server + std::string(path);
  call.headers = {"Accept: application/json"};
  std::string token = access_.token;
  if (!access_.token_file.empty()) {
    std::ifstream in(access_.token_file);
    if (!(in >> token)) return NotFound("cannot read the token in {}", access_.token_file);
  }
  if (!token.empty()) call.headers.push_back("Authorization: Bearer " + token);
  if (body != nullptr) {
    call.headers.push_back(std::string("Content-Type: ") + type);
    call.body = body->dump();
  }
  fetch::HttpCallOptions options;
  options.ca = access_.ca;
  options.certificate = access_.certificate;
  options.key = access_.key;
  options.verify = access_.verify;
  options.cancel = cancel_;
  WEFT_ASSIGN_OR_RETURN(const fetch::HttpReply reply, fetch::CallHttp(call, options));
  absl::StatusOr<json> answer = ParseStrictJson(reply.body);
  if (reply.status >= 200 && reply.status < 300) {
    if (!answer.ok() || !answer->is_object()) {
      return Unavailable("{} {}: the API server's answer is no JSON object", method, path);
    }
    return answer;
  }
  std::string words, reason;
  if (answer.ok() && answer->is_object()) {
    words = TextOf(*answer, "message");
    reason = TextOf(*answer, "reason");
  }
  return MakeStatus(
      CodeOf(reply.status, reason),
      fmt::format("{} {}: the API server answers {}{}{}", method, path.substr(0, path.find('?')),
                  reply.status, words.empty() ? "" : ": ", words.substr(0, 1000)));
}

absl::StatusOr<json> Client::Get(std::string_view path) const {
  return Call("GET", path, nullptr, "");
}

absl::StatusOr<json> Client::Create(std::string_view path, const json& object) const {
  return Call("POST", path, &object, "application/json");
}

absl::StatusOr<json> Client::Patch(std::string_view path, const json& patch, Merge merge) const {
  return Call("PATCH", path, &patch,
              merge == Merge::kStrategic ? "application/strategic-merge-patch+json"
                                         : "application/merge-patch+json");
}

absl::Status Client::Delete(std::string_view path) const {
  const json options{
      {"apiVersion", "v1"}, {"kind", "DeleteOptions"}, {"propagationPolicy", "Foreground"}};
  const absl::Status done = Call("DELETE", path, &options, "application/json").status();
  return done.code() == absl::StatusCode::kNotFound ? absl::OkStatus() : done;
}

}  // namespace weft::kube
