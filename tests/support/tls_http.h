// A RawHttp inside TLS.
#pragma once

#include <string>
#include <vector>

#include "tests/support/raw_http.h"

struct ssl_ctx_st;
struct ssl_st;

namespace weft::test {

struct TlsClientOptions {
  std::string ca_file;           // whom to trust; empty: anybody
  std::string certificate_file;  // own
  std::string key_file;
  int max_version = 0;  // OpenSSL's TLS1_2_VERSION …; 0 = the newest
  std::vector<std::string> alpn;
};

class TlsHttp : public RawHttp {
 public:
  // Throws when it cannot connect or the handshake fails.
  TlsHttp(uint16_t port, const TlsClientOptions& options);
  ~TlsHttp() override;

  std::string version() const;             // "TLSv1.3"
  std::string alpn() const;                // what the server chose
  std::string server_fingerprint() const;  // SHA-256 of its certificate, in hex

 protected:
  ssize_t Write(std::string_view bytes) override;
  ssize_t Read(char* bytes, size_t size) override;
  bool Pending() const override;

 private:
  ssl_ctx_st* ctx_;
  ssl_st* ssl_;
};

}  // namespace weft::test
