#include "libs/http/router.h"

#include <algorithm>

#include "libs/base/status.h"

namespace weft::http {
namespace {

// "/a//b" has the segments "a", "", "b"; "/" has one empty segment.
void Split(std::string_view path, std::vector<std::string_view>* out) {
  path.remove_prefix(1);
  while (true) {
    const size_t slash = path.find('/');
    out->push_back(path.substr(0, slash));
    if (slash == std::string_view::npos) return;
    path.remove_prefix(slash + 1);
  }
}

bool IsParameter(std::string_view segment) {
  return segment.size() >= 2 && segment.front() == '{' && segment.back() == '}';
}

}  // namespace

absl::Status Router::Add(Route route) {
  if (route.pattern.empty() || route.pattern.front() != '/') {
    return InvalidArgument("route pattern '{}' must begin with '/'", route.pattern);
  }
  std::vector<std::string_view> segments;
  Split(route.pattern, &segments);
  for (std::string_view segment : segments) {
    if ((segment.empty() && segments.size() > 1) || segment == "{}") {
      return InvalidArgument("route pattern '{}' has an empty segment", route.pattern);
    }
  }
  for (const Route& other : routes_) {
    if (other.method == route.method && other.pattern == route.pattern) {
      return AlreadyExists("route {} {} is there twice", route.method, route.pattern);
    }
  }
  route.segments.assign(segments.begin(), segments.end());
  route.index = routes_.size();
  routes_.push_back(std::move(route));
  return absl::OkStatus();
}

absl::Status Router::Add(std::string_view method, std::string_view pattern, Handler handler) {
  Route route;
  route.method = method;
  route.pattern = pattern;
  route.handler = std::move(handler);
  return Add(std::move(route));
}

absl::Status Router::SetLimits(std::string_view method, std::string_view pattern,
                               const RouteLimits& limits) {
  for (Route& route : routes_) {
    if (route.method != method || route.pattern != pattern) continue;
    route.limits = limits;
    return absl::OkStatus();
  }
  return NotFound("there is no route {} {}", method, pattern);
}

Router::Match Router::Find(std::string_view method, std::string_view path) const {
  Match match;
  if (path.empty() || path.front() != '/') return match;
  std::vector<std::string_view> segments;
  Split(path, &segments);
  const std::string_view wanted = method == "HEAD" ? "GET" : method;
  size_t best_literals = 0;
  for (const Route& route : routes_) {
    if (route.segments.size() != segments.size()) continue;
    size_t literals = 0;
    bool matches = true;
    for (size_t i = 0; i < segments.size() && matches; ++i) {
      if (IsParameter(route.segments[i])) {
        matches = !segments[i].empty();
      } else {
        matches = route.segments[i] == segments[i];
        ++literals;
      }
    }
    if (!matches) continue;
    if (route.method != wanted) {
      if (match.allow.find(route.method) == std::string::npos) {
        if (!match.allow.empty()) match.allow += ", ";
        match.allow += route.method;
      }
      continue;
    }
    if (match.route == nullptr || literals > best_literals) {
      match.route = &route;
      best_literals = literals;
    }
  }
  if (match.route == nullptr) return match;
  match.allow.clear();
  for (size_t i = 0; i < segments.size(); ++i) {
    const std::string& name = match.route->segments[i];
    if (!IsParameter(name)) continue;
    std::optional<std::string> value = PercentDecode(segments[i]);
    if (!value) return Match{};  // a broken escape names nothing that exists
    match.params.emplace_back(std::string_view(name).substr(1, name.size() - 2), std::move(*value));
  }
  return match;
}

}  // namespace weft::http
