// Finds out before anything starts whether the ports of the mesh are free, and who holds them.
#pragma once

#include <absl/status/status.h>

#include <cstdint>
#include <string>

#include "services/weftctl/supervise/port_claim.h"

namespace weft::supervise {

// OK when a listener could bind to the port now. Otherwise FAILED_PRECONDITION that names what the
// port is for, the port, the process that holds it when the kernel lets us see it, and the key:
// "gateway REST port 127.0.0.1:8080 is taken by nginx (pid 4711); gateway.listen can name another".
// The host is an IPv4 or IPv6 literal or "localhost"; Unix sockets are free. Does not block.
absl::Status CheckPortFree(const PortClaim& claim);

// "nginx (pid 4711)" for the process that listens on the TCP port, or "" when it cannot be told
// (another user's process, no /proc).
std::string FindListener(uint16_t port);

}  // namespace weft::supervise
