// Redis' addresses as URLs.
#pragma once

#include <absl/status/statusor.h>

#include <string_view>

#include "libs/redis/options.h"

namespace weft::redis {

// redis://[[user]:password@]host[:port][/database]   plain TCP
// rediss://…                                         TLS
// unix://[[user]:password@]/path[?db=database]       a Unix socket
// User and password may be percent encoded, an IPv6 address stands in brackets, the port is 6379 if
// it is not given. INVALID_ARGUMENT says what is wrong, without the password.
absl::StatusOr<Endpoint> ParseUrl(std::string_view url);

}  // namespace weft::redis
