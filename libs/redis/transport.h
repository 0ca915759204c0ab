// A byte stream to a Redis, plain or TLS, in which everything has a deadline.
#pragma once

#include <absl/status/statusor.h>

#include <cstddef>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "libs/base/clock.h"
#include "libs/redis/options.h"

typedef struct ssl_ctx_st SSL_CTX;  // NOLINT(modernize-use-using): OpenSSL's own declaration

namespace weft::redis {

// Certificates, read once. nullptr for an endpoint without TLS. INVALID_ARGUMENT names the file.
absl::StatusOr<std::shared_ptr<SSL_CTX>> MakeTlsContext(const Options& options);

// Not thread safe. Errors: DEADLINE_EXCEEDED, UNAVAILABLE for everything that the network does,
// PERMISSION_DENIED for a certificate that is not good.
class Transport {
 public:
  static absl::StatusOr<std::unique_ptr<Transport>> Connect(const Options& options,
                                                            const std::shared_ptr<SSL_CTX>& tls,
                                                            SteadyTime deadline);
  virtual ~Transport() = default;

  virtual absl::Status Write(std::string_view bytes, SteadyTime deadline) = 0;
  // At least one byte.
  virtual absl::StatusOr<size_t> Read(std::span<char> into, SteadyTime deadline) = 0;
  // True: the peer has closed, or said something that nobody asked for. Never blocks.
  virtual bool Stale() const = 0;
  // Makes a Read of another thread end with an error. The only method that is thread safe.
  virtual void Shut() = 0;
};

}  // namespace weft::redis
