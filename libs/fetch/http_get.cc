#include "libs/fetch/http_get.h"

#include <curl/curl.h>

#include <algorithm>
#include <cctype>
#include <charconv>
#include <memory>

#include "libs/base/status.h"

namespace weft::fetch {
namespace {

constexpr size_t kShownBody = 300;  // of an error's body

struct Call {
  const HttpHandlers* handlers;
  const std::atomic<bool>* cancel;
  CURL* curl;
  HttpHead head = {};
  absl::Status status = {};  // of a handler
  bool told = false;         // the head
  std::string refusal = {};  // the beginning of an error's body

  bool good() const { return head.status >= 200 && head.status < 300; }
  bool Tell() {
    if (told) return true;
    told = true;
    if (handlers->head) status = handlers->head(head);
    return status.ok();
  }
};

std::string_view Trimmed(std::string_view text) {
  while (!text.empty() && std::isspace(static_cast<unsigned char>(text.front()))) {
    text.remove_prefix(1);
  }
  while (!text.empty() && std::isspace(static_cast<unsigned char>(text.back()))) {
    text.remove_suffix(1);
  }
  return text;
}

template <typename T>
std::optional<T> Number(std::string_view text) {
  T value{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || text.empty()) return {};
  return value;
}

size_t OnHeader(char* data, size_t, size_t size, void* user) {
  auto& call = *static_cast<Call*>(user);
  const std::string_view line(data, size);
  if (line.starts_with("HTTP/")) {  // of each response: what a redirect said is over
    call.head = {};
    const size_t space = line.find(' ');
    if (space != line.npos) {
      call.head.status = Number<int>(line.substr(space + 1, 3)).value_or(0);
    }
    return size;
  }
  const size_t colon = line.find(':');
  if (colon == line.npos) return size;
  std::string name(line.substr(0, colon));
  std::transform(name.begin(), name.end(), name.begin(),
                 [](unsigned char c) { return std::tolower(c); });
  const std::string_view value = Trimmed(line.substr(colon + 1));
  if (name == "etag") call.head.etag = value;
  // A server may offer several ways; the one that is understood is kept.
  if (name == "www-authenticate" && !call.head.authenticate.starts_with("Bearer")) {
    call.head.authenticate = value;
  }
  if (name == "content-range") call.head.content_range = value;
  if (name == "docker-content-digest") call.head.digest = value;
  if (name == "content-length") call.head.length = Number<uint64_t>(value);
  if (name == "retry-after") {
    if (const auto seconds = Number<uint32_t>(value)) {
      call.head.retry_after = std::chrono::seconds(*seconds);
    }
  }
  return size;
}

size_t OnBody(char* data, size_t, size_t size, void* user) {
  auto& call = *static_cast<Call*>(user);
  if (!call.good()) {
    call.refusal.append(data,
                        std::min(size, kShownBody - std::min(call.refusal.size(), kShownBody)));
    return size;
  }
  if (!call.Tell()) return 0;
  call.status = call.handlers->body({data, size});
  return call.status.ok() ? size : 0;
}

int OnProgress(void* user, curl_off_t, curl_off_t, curl_off_t, curl_off_t) {
  const auto& call = *static_cast<Call*>(user);
  return call.cancel != nullptr && call.cancel->load() ? 1 : 0;
}

absl::Status OfStatus(const Call& call, const std::string& shown) {
  std::string why;
  for (const char c : call.refusal) why += c >= 0x20 && c < 0x7f ? c : ' ';
  const std::string text = fmt::format("{}: the server answers {}{}{}", shown, call.head.status,
                                       why.empty() ? "" : ": ", Trimmed(why));
  switch (call.head.status) {
    case 401:
      return MakeStatus(absl::StatusCode::kUnauthenticated, text);
    case 403:
      return MakeStatus(absl::StatusCode::kPermissionDenied, text);
    case 404:
    case 410:
      return MakeStatus(absl::StatusCode::kNotFound, text);
    case 416:
      return MakeStatus(absl::StatusCode::kOutOfRange, text);
    case 408:
    case 429:
      return MakeStatus(absl::StatusCode::kUnavailable, text);
    default:
      return MakeStatus(call.head.status >= 500 ? absl::StatusCode::kUnavailable
                                                : absl::StatusCode::kFailedPrecondition,
                        text);
  }
}

absl::Status OfCurl(CURLcode code, const char* detail, const std::string& shown) {
  const std::string text =
      fmt::format("{}: {}", shown, *detail != '\0' ? detail : curl_easy_strerror(code));
  switch (code) {
    case CURLE_OPERATION_TIMEDOUT:
      return MakeStatus(absl::StatusCode::kDeadlineExceeded, text);
    case CURLE_UNSUPPORTED_PROTOCOL:
    case CURLE_URL_MALFORMAT:
      return MakeStatus(absl::StatusCode::kInvalidArgument, text);
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_CACERT_BADFILE:
    case CURLE_TOO_MANY_REDIRECTS:
      return MakeStatus(absl::StatusCode::kFailedPrecondition, text);
    default:  // not resolved, not connected, cut off in the middle
      return MakeStatus(absl::StatusCode::kUnavailable, text);
  }
}

bool Prepared() {
  static const bool ok = curl_global_init(CURL_GLOBAL_DEFAULT) == CURLE_OK;
  return ok;
}

}  // namespace

absl::Status HttpGet(const HttpRequest& request, const HttpOptions& options,
                     const HttpHandlers& handlers, HttpHead* seen) {
  const std::string shown = ShownUrl(request.url);
  const std::unique_ptr<CURL, void (*)(CURL*)> curl(Prepared() ? curl_easy_init() : nullptr,
                                                    curl_easy_cleanup);
  if (!curl) return Internal("libcurl does not start");
  Call call{.handlers = &handlers, .cancel = options.cancel, .curl = curl.get()};
  char detail[CURL_ERROR_SIZE] = "";
  curl_slist* list = nullptr;
  const auto add = [&list](const std::string& line) {
    list = curl_slist_append(list, line.c_str());
  };
  for (const std::string& header : request.headers) add(header);
  if (request.offset > 0) {
    add(fmt::format("Range: bytes={}-", request.offset));
    if (!request.if_range.empty()) add("If-Range: " + request.if_range);
  }
  const std::unique_ptr<curl_slist, void (*)(curl_slist*)> headers(list, curl_slist_free_all);
  CURL* c = curl.get();
  curl_easy_setopt(c, CURLOPT_URL, request.url.c_str());
  curl_easy_setopt(c, CURLOPT_PROTOCOLS_STR, "http,https");
  curl_easy_setopt(c, CURLOPT_REDIR_PROTOCOLS_STR,
                   request.url.starts_with("https:") ? "https" : "http,https");
  curl_easy_setopt(c, CURLOPT_FOLLOWLOCATION, 1L);
  curl_easy_setopt(c, CURLOPT_MAXREDIRS, 8L);
  curl_easy_setopt(c, CURLOPT_NOSIGNAL, 1L);
  curl_easy_setopt(c, CURLOPT_HTTPHEADER, headers.get());
  curl_easy_setopt(c, CURLOPT_USERAGENT, options.user_agent.c_str());
  curl_easy_setopt(c, CURLOPT_CONNECTTIMEOUT, static_cast<long>(options.connect.count()));
  curl_easy_setopt(c, CURLOPT_LOW_SPEED_LIMIT, 1L);
  curl_easy_setopt(c, CURLOPT_LOW_SPEED_TIME, static_cast<long>(options.stall.count()));
  curl_easy_setopt(c, CURLOPT_BUFFERSIZE, 512L * 1024);
  curl_easy_setopt(c, CURLOPT_ERRORBUFFER, detail);
  curl_easy_setopt(c, CURLOPT_HEADERFUNCTION, OnHeader);
  curl_easy_setopt(c, CURLOPT_HEADERDATA, &call);
  curl_easy_setopt(c, CURLOPT_WRITEFUNCTION, OnBody);
  curl_easy_setopt(c, CURLOPT_WRITEDATA, &call);
  curl_easy_setopt(c, CURLOPT_NOPROGRESS, 0L);
  curl_easy_setopt(c, CURLOPT_XFERINFOFUNCTION, OnProgress);
  curl_easy_setopt(c, CURLOPT_XFERINFODATA, &call);
  if (!options.ca_file.empty()) curl_easy_setopt(c, CURLOPT_CAINFO, options.ca_file.c_str());
  const CURLcode code = curl_easy_perform(c);
  if (seen != nullptr) *seen = call.head;
  if (!call.status.ok()) return call.status;
  if (code == CURLE_ABORTED_BY_CALLBACK) return Cancelled("{}: interrupted", shown);
  if (code != CURLE_OK) return OfCurl(code, detail, shown);
  if (!call.good()) return OfStatus(call, shown);
  call.Tell();
  return call.status;
}

absl::Status HttpGetText(const HttpRequest& request, const HttpOptions& options, size_t limit,
                         std::string* body, HttpHead* seen) {
  body->clear();
  return HttpGet(request, options,
                 {.head = nullptr,
                  .body = [&](std::string_view piece) -> absl::Status {
                    if (body->size() + piece.size() > limit) {
                      return ResourceExhausted("{}: the answer is longer than {} bytes",
                                               ShownUrl(request.url), limit);
                    }
                    body->append(piece);
                    return absl::OkStatus();
                  }},
                 seen);
}

std::optional<ContentRange> ParseContentRange(std::string_view text) {
  if (!text.starts_with("bytes ")) return {};
  text.remove_prefix(6);
  const size_t dash = text.find('-');
  const size_t slash = text.find('/');
  if (slash == text.npos) return {};
  ContentRange out;
  const std::string_view total = text.substr(slash + 1);
  if (total != "*") {
    const auto number = Number<uint64_t>(total);
    if (!number) return {};
    out.total = *number;
  }
  if (text.substr(0, slash) == "*") return total == "*" ? std::nullopt : std::optional(out);
  if (dash == text.npos || dash > slash) return {};
  const auto first = Number<uint64_t>(text.substr(0, dash));
  const auto last = Number<uint64_t>(text.substr(dash + 1, slash - dash - 1));
  if (!first || !last || *last < *first) return {};
  if (out.total != 0 && *last >= out.total) return {};
  out.first = *first;
  out.last = *last;
  return out;
}

std::string ShownUrl(std::string_view url) {
  url = url.substr(0, std::min({url.size(), url.find('?'), url.find('#')}));
  const size_t scheme = url.find("://");
  if (scheme == url.npos) return std::string(url.substr(0, 300));
  const std::string_view rest = url.substr(scheme + 3);
  const std::string_view authority = rest.substr(0, rest.find('/'));
  const size_t at = authority.rfind('@');
  const std::string_view shown = at == authority.npos ? rest : rest.substr(at + 1);
  return fmt::format("{}://{}", url.substr(0, scheme), shown.substr(0, 300));
}

}  // namespace weft::fetch
