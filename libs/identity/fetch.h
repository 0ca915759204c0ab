// One HTTPS exchange with an identity provider.
#pragma once

#include <absl/status/statusor.h>

#include <chrono>
#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace weft::identity {

struct FetchRequest {
  std::string url;
  // With a form it is a POST of application/x-www-form-urlencoded.
  std::vector<std::pair<std::string, std::string>> form = {};
  std::string user = {};  // HTTP Basic, when not empty
  std::string password = {};
};

struct FetchAnswer {
  int status = 0;
  std::string body;
};

struct FetchOptions {
  std::string ca_file = {};                   // PEM, whom to trust; empty: the system's roots
  bool allow_http = false;                    // plain text, for tests and providers on this machine
  std::chrono::milliseconds timeout{10'000};  // for the whole exchange
  size_t max_bytes = size_t{256} << 10;       // of an answer
};

// Thread safe.
class Fetcher {
 public:
  virtual ~Fetcher() = default;
  // Blocks. UNAVAILABLE when there is no whole answer in time, INVALID_ARGUMENT for a URL of
  // another scheme, RESOURCE_EXHAUSTED for too long an answer. Redirections are not followed.
  // Errors hold the URL without its query.
  virtual absl::StatusOr<FetchAnswer> Fetch(const FetchRequest& request) = 0;
};

std::unique_ptr<Fetcher> NewFetcher(FetchOptions options);

// application/x-www-form-urlencoded, also for query strings.
std::string FormEncode(const std::vector<std::pair<std::string, std::string>>& fields);

}  // namespace weft::identity
