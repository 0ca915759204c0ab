#include "libs/identity/fetch.h"

#include <curl/curl.h>

#include <cstdint>
#include <mutex>

#include "libs/base/status.h"

namespace weft::identity {
namespace {

struct Body {
  std::string text;
  size_t max = 0;
  bool over = false;
};

size_t Take(const char* data, size_t size, size_t count, void* user) {
  auto& body = *static_cast<Body*>(user);
  const size_t bytes = size * count;
  if (body.text.size() + bytes > body.max) {
    body.over = true;
    return 0;
  }
  body.text.append(data, bytes);
  return bytes;
}

struct Free {
  void operator()(CURL* curl) const { curl_easy_cleanup(curl); }
};

class CurlFetcher final : public Fetcher {
 public:
  explicit CurlFetcher(FetchOptions options) : options_(std::move(options)) {
    static std::once_flag once;
    std::call_once(once, [] { curl_global_init(CURL_GLOBAL_DEFAULT); });
  }

  absl::StatusOr<FetchAnswer> Fetch(const FetchRequest& request) override {
    const std::string shown = request.url.substr(0, request.url.find('?'));
    const std::unique_ptr<CURL, Free> curl(curl_easy_init());
    if (!curl) return Unavailable("{}: no memory", shown);
    const bool plain = request.url.starts_with("http://");
    if (!request.url.starts_with("https://") && !(plain && options_.allow_http)) {
      return InvalidArgument("{}: is no https:// URL", shown);
    }
    Body body{.text = {}, .max = options_.max_bytes};
    const std::string form = FormEncode(request.form);
    CURL* c = curl.get();
    curl_easy_setopt(c, CURLOPT_URL, request.url.c_str());
    curl_easy_setopt(c, CURLOPT_PROTOCOLS_STR, plain ? "http" : "https");
    curl_easy_setopt(c, CURLOPT_FOLLOWLOCATION, 0L);
    curl_easy_setopt(c, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(c, CURLOPT_TIMEOUT_MS, static_cast<long>(options_.timeout.count()));
    curl_easy_setopt(c, CURLOPT_SSLVERSION, static_cast<long>(CURL_SSLVERSION_TLSv1_2));
    curl_easy_setopt(c, CURLOPT_WRITEFUNCTION, &Take);
    curl_easy_setopt(c, CURLOPT_WRITEDATA, &body);
    if (!options_.ca_file.empty()) curl_easy_setopt(c, CURLOPT_CAINFO, options_.ca_file.c_str());
    if (!request.form.empty()) {
      curl_easy_setopt(c, CURLOPT_POSTFIELDSIZE, static_cast<long>(form.size()));
      curl_easy_setopt(c, CURLOPT_POSTFIELDS, form.c_str());
    }
    if (!request.user.empty()) {
      curl_easy_setopt(c, CURLOPT_HTTPAUTH, static_cast<long>(CURLAUTH_BASIC));
      curl_easy_setopt(c, CURLOPT_USERNAME, request.user.c_str());
      curl_easy_setopt(c, CURLOPT_PASSWORD, request.password.c_str());
    }
    const CURLcode code = curl_easy_perform(c);
    if (body.over) {
      return ResourceExhausted("{}: answers more than {} bytes", shown, options_.max_bytes);
    }
    if (code != CURLE_OK) return Unavailable("{}: {}", shown, curl_easy_strerror(code));
    long status = 0;
    curl_easy_getinfo(c, CURLINFO_RESPONSE_CODE, &status);
    return FetchAnswer{static_cast<int>(status), std::move(body.text)};
  }

 private:
  const FetchOptions options_;
};

}  // namespace

std::unique_ptr<Fetcher> NewFetcher(FetchOptions options) {
  return std::make_unique<CurlFetcher>(std::move(options));
}

std::string FormEncode(const std::vector<std::pair<std::string, std::string>>& fields) {
  constexpr std::string_view kPlain =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~";
  std::string out;
  const auto append = [&](std::string_view text) {
    for (const char c : text) {
      if (kPlain.find(c) != std::string_view::npos) {
        out.push_back(c);
      } else {
        out += fmt::format("%{:02X}", static_cast<uint8_t>(c));
      }
    }
  };
  for (const auto& [name, value] : fields) {
    if (!out.empty()) out.push_back('&');
    append(name);
    out.push_back('=');
    append(value);
  }
  return out;
}

}  // namespace weft::identity
