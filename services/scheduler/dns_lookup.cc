#include "services/scheduler/dns_lookup.h"

#include <netdb.h>

#include <set>

#include "libs/base/status.h"

namespace weft::scheduler {

absl::StatusOr<std::vector<std::string>> LookUpAddresses(const std::string& name) {
  const size_t colon = name.rfind(':');
  if (colon == std::string::npos) return InvalidArgument("{} has no port", name);
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* found = nullptr;
  const int error =
      getaddrinfo(name.substr(0, colon).c_str(), name.c_str() + colon + 1, &hints, &found);
  if (error != 0) return Unavailable("{}: {}", name, gai_strerror(error));
  std::set<std::string> targets;
  for (const addrinfo* a = found; a != nullptr; a = a->ai_next) {
    char host[NI_MAXHOST];
    char port[NI_MAXSERV];
    if (getnameinfo(a->ai_addr, a->ai_addrlen, host, sizeof(host), port, sizeof(port),
                    NI_NUMERICHOST | NI_NUMERICSERV) != 0) {
      continue;
    }
    const bool v6 = a->ai_family == AF_INET6;
    targets.insert(v6 ? fmt::format("[{}]:{}", host, port) : fmt::format("{}:{}", host, port));
  }
  freeaddrinfo(found);
  return std::vector<std::string>(targets.begin(), targets.end());
}

}  // namespace weft::scheduler
