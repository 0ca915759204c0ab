// Finds the handler of a method and path.
#pragma once

#include <absl/status/status.h>

#include <string>
#include <string_view>
#include <vector>

#include "libs/http/exchange.h"
#include "libs/http/message.h"

namespace weft::http {

// Filled first, then read by many threads. Patterns are literal segments and "{name}" segments,
// each of which takes exactly one non-empty segment of the path. A literal wins over a parameter.
class Router {
 public:
  struct Route {
    std::string method;
    std::string pattern;
    Handler handler;
    size_t max_body_bytes = 0;  // 0 = the server's limit

    std::vector<std::string> segments;  // filled by Add
  };

  // ALREADY_EXISTS for a second handler of the same method and pattern; INVALID_ARGUMENT for a
  // pattern that does not begin with '/' or has an empty segment or parameter name.
  absl::Status Add(Route route);
  absl::Status Add(std::string_view method, std::string_view pattern, Handler handler);

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
