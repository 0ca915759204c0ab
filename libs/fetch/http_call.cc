#include "libs/fetch/http_call.h"

#include <curl/curl.h>

#include <algorithm>
#include <memory>

#include "libs/base/status.h"
#include "libs/fetch/http_get.h"

namespace weft::fetch {
namespace {

struct Receiver {
  HttpReply* reply;
  size_t limit;
  const std::atomic<bool>* cancel;
  bool too_long = false;
};

size_t OnBody(char* data, size_t, size_t size, void* user) {
  auto& receiver = *static_cast<Receiver*>(user);
  if (receiver.reply->body.size() + size > receiver.limit) {
    receiver.too_long = true;
    return 0;
  }
  receiver.reply->body.append(data, size);
  return size;
}

int OnProgress(void* user, curl_off_t, curl_off_t, curl_off_t, curl_off_t) {
  const auto& receiver = *static_cast<Receiver*>(user);
  return receiver.cancel != nullptr && receiver.cancel->load() ? 1 : 0;
}

absl::StatusCode CodeOf(CURLcode code) {
  switch (code) {
    case CURLE_OPERATION_TIMEDOUT:
      return absl::StatusCode::kDeadlineExceeded;
    case CURLE_UNSUPPORTED_PROTOCOL:
    case CURLE_URL_MALFORMAT:
      return absl::StatusCode::kInvalidArgument;
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_CACERT_BADFILE:
    case CURLE_SSL_CERTPROBLEM:
      return absl::StatusCode::kFailedPrecondition;
    default:
      return absl::StatusCode::kUnavailable;
  }
}

// libcurl reads a PEM text from where it lies.
void SetPem(CURL* curl, CURLoption option, const std::string& pem) {
  if (pem.empty()) return;
  curl_blob blob{const_cast<char*>(pem.data()), pem.size(), CURL_BLOB_NOCOPY};
  curl_easy_setopt(curl, option, &blob);
}

}  // namespace

absl::StatusOr<HttpReply> CallHttp(const HttpCall& call, const HttpCallOptions& options) {
  static const bool prepared = curl_global_init(CURL_GLOBAL_DEFAULT) == CURLE_OK;
  const std::unique_ptr<CURL, void (*)(CURL*)> curl(prepared ? curl_easy_init() : nullptr,
                                                    curl_easy_cleanup);
  if (!curl) return Internal("libcurl does not start");
  const std::string shown = ShownUrl(call.url);
  curl_slist* list = nullptr;
  for (const std::string& header : call.headers) list = curl_slist_append(list, header.c_str());
  list = curl_slist_append(list, "Expect:");  // a body goes at once
  const std::unique_ptr<curl_slist, void (*)(curl_slist*)> headers(list, curl_slist_free_all);
  HttpReply reply;
  Receiver receiver{&reply, options.body_limit, options.cancel};
  char detail[CURL_ERROR_SIZE] = "";
  CURL* c = curl.get();
  curl_easy_setopt(c, CURLOPT_URL, call.url.c_str());
  curl_easy_setopt(c, CURLOPT_PROTOCOLS_STR, "http,https");
  curl_easy_setopt(c, CURLOPT_CUSTOMREQUEST, call.method.c_str());
  if (!call.body.empty()) {
    curl_easy_setopt(c, CURLOPT_POSTFIELDS, call.body.data());
    curl_easy_setopt(c, CURLOPT_POSTFIELDSIZE_LARGE, static_cast<curl_off_t>(call.body.size()));
  }
  curl_easy_setopt(c, CURLOPT_NOSIGNAL, 1L);
  curl_easy_setopt(c, CURLOPT_SSLVERSION, static_cast<long>(CURL_SSLVERSION_TLSv1_2));
  curl_easy_setopt(c, CURLOPT_HTTPHEADER, headers.get());
  curl_easy_setopt(c, CURLOPT_USERAGENT, options.user_agent.c_str());
  curl_easy_setopt(c, CURLOPT_CONNECTTIMEOUT_MS, static_cast<long>(options.connect.count()));
  curl_easy_setopt(c, CURLOPT_TIMEOUT_MS, static_cast<long>(options.total.count()));
  curl_easy_setopt(c, CURLOPT_ERRORBUFFER, detail);
  curl_easy_setopt(c, CURLOPT_WRITEFUNCTION, OnBody);
  curl_easy_setopt(c, CURLOPT_WRITEDATA, &receiver);
  curl_easy_setopt(c, CURLOPT_NOPROGRESS, 0L);
  curl_easy_setopt(c, CURLOPT_XFERINFOFUNCTION, OnProgress);
  curl_easy_setopt(c, CURLOPT_XFERINFODATA, &receiver);
  SetPem(c, CURLOPT_CAINFO_BLOB, options.ca);
  SetPem(c, CURLOPT_SSLCERT_BLOB, options.certificate);
  SetPem(c, CURLOPT_SSLKEY_BLOB, options.key);
  if (!options.verify) {
    curl_easy_setopt(c, CURLOPT_SSL_VERIFYPEER, 0L);
    curl_easy_setopt(c, CURLOPT_SSL_VERIFYHOST, 0L);
  }
  const CURLcode code = curl_easy_perform(c);
  if (code == CURLE_ABORTED_BY_CALLBACK) return Cancelled("{}: interrupted", shown);
  if (receiver.too_long) {
    return ResourceExhausted("{}: the answer is longer than {} bytes", shown, options.body_limit);
  }
  if (code != CURLE_OK) {
    return MakeStatus(
        CodeOf(code),
        fmt::format("{}: {}", shown, *detail != '\0' ? detail : curl_easy_strerror(code)));
  }
  long status = 0;
  curl_easy_getinfo(c, CURLINFO_RESPONSE_CODE, &status);
  reply.status = static_cast<int>(status);
  return reply;
}

std::string PercentEncoded(std::string_view text) {
  std::string out;
  for (const char c : text) {
    const bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                       c == '-' || c == '.' || c == '_' || c == '~';
    if (plain) {
      out += c;
    } else {
      out += fmt::format("%{:02X}", static_cast<unsigned char>(c));
    }
  }
  return out;
}

}  // namespace weft::fetch
