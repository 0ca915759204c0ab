// Finds the handler of a method and path.
#pragma once

#include <absl/status/status.h>

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "libs/http/exchange.h"
#include "libs/http/message.h"

namespace weft::http {

// Of one route, instead of the server's own. 0: as the server's; concurrency: no limit.
struct RouteLimits {
  size_t max_body_bytes = 0;
  size_t max_header_bytes = 0;
  std::chrono::milliseconds body_timeout{0};
  uint32_t max_concurrent = 0;  // requests from their head to the end of their answer; beyond, 503
};

// Filled first, then read by many threads. Patterns are literal segments and "{name}" segments,
// each of which takes exactly one non-empty segment of the path. A literal wins over a parameter.
class Router {
 public:
  struct Route {
    std::string method;
    std::string pattern;
    Handler handler;
    RouteLimits limits = {};

    std::vector<std::string> segments;  // filled by Add
    size_t index = 0;                   // in routes(); filled by Add
  };

  // ALREADY_EXISTS for a second handler of the same method and pattern; INVALID_ARGUMENT for a
  // pattern that does not begin with '/' or has an empty segment or parameter name.
  absl::Status Add(Route route);
  absl::Status Add(std::string_view method, std::string_view pattern, Handler handler);

  // NOT_FOUND when there is no such route.
  absl::Status SetLimits(std::string_view method, std::string_view pattern,
                         const RouteLimits& limits);

  struct Match {
    const Route* route = nullptr;  // nullptr: nothing matched
    // Methods that the path does allow, comma separated: non-empty without a route means 405.
    std::string allow;
    std::vector<std::pair<std::string_view, std::string>> params;
  };
  // HEAD falls back to GET. Never throws, whatever the path.
  Match Find(std::string_view method, std::string_view path) const;

  const std::vector<Route>& routes() const { return routes_; }

 private:
  std::vector<Route> routes_;
};

}  // namespace weft::http
