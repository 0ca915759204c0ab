#include "libs/identity/fetch.h"

#include <fstream>
#include <iterator>

#include "libs/base/status.h"
#include "libs/fetch/digest.h"
#include "libs/fetch/http_call.h"
#include "libs/fetch/http_get.h"

namespace weft::identity {
namespace {

class HttpFetcher final : public Fetcher {
 public:
  explicit HttpFetcher(FetchOptions options) : options_(std::move(options)) {}

  absl::StatusOr<FetchAnswer> Fetch(const FetchRequest& request) override {
    const bool plain = options_.allow_http && request.url.starts_with("http://");
    if (!plain && !request.url.starts_with("https://")) {
      return InvalidArgument("{}: is no https:// URL", fetch::ShownUrl(request.url));
    }
    fetch::HttpCall call{.url = request.url};
    if (!request.form.empty()) {
      call.method = "POST";
      call.headers.emplace_back("Content-Type: application/x-www-form-urlencoded");
      call.body = FormEncode(request.form);
    }
    if (!request.user.empty()) {
      call.headers.push_back("Authorization: Basic " +
                             fetch::Base64(request.user + ":" + request.password));
    }
    fetch::HttpCallOptions options;
    options.connect = options.total = options_.timeout;
    options.body_limit = options_.max_bytes;
    options.user_agent = "weft";
    if (!options_.ca_file.empty()) {
      std::ifstream file(options_.ca_file);
      options.ca.assign(std::istreambuf_iterator<char>(file), {});
      if (options.ca.empty()) return Unavailable("{}: cannot be read", options_.ca_file);
    }
    auto reply = fetch::CallHttp(call, options);
    if (!reply.ok()) {
      const absl::StatusCode code = reply.status().code();
      if (code == absl::StatusCode::kInvalidArgument ||
          code == absl::StatusCode::kResourceExhausted) {
        return reply.status();
      }
      return Unavailable("{}", Message(reply.status()));
    }
    return FetchAnswer{reply->status, std::move(reply->body)};
  }

 private:
  const FetchOptions options_;
};

}  // namespace

std::unique_ptr<Fetcher> NewFetcher(FetchOptions options) {
  return std::make_unique<HttpFetcher>(std::move(options));
}

std::string FormEncode(const std::vector<std::pair<std::string, std::string>>& fields) {
  std::string out;
  for (const auto& [name, value] : fields) {
    if (!out.empty()) out.push_back('&');
    out.append(fetch::PercentEncoded(name)).append("=").append(fetch::PercentEncoded(value));
  }
  return out;
}

}  // namespace weft::identity
