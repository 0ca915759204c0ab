#include "tests/support/tls_http.h"

#include <fmt/format.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>

#include <csignal>
#include <stdexcept>

namespace weft::test {

TlsHttp::TlsHttp(uint16_t port, const TlsClientOptions& options)
    : RawHttp(port), ctx_(SSL_CTX_new(TLS_client_method())), ssl_(nullptr) {
  std::signal(SIGPIPE, SIG_IGN);  // OpenSSL writes without MSG_NOSIGNAL
  if (!options.ca_file.empty()) {
    SSL_CTX_load_verify_locations(ctx_, options.ca_file.c_str(), nullptr);
    SSL_CTX_set_verify(ctx_, SSL_VERIFY_PEER, nullptr);
  }
  if (!options.certificate_file.empty()) {
    SSL_CTX_use_certificate_chain_file(ctx_, options.certificate_file.c_str());
    SSL_CTX_use_PrivateKey_file(ctx_, options.key_file.c_str(), SSL_FILETYPE_PEM);
  }
  if (options.max_version != 0) SSL_CTX_set_max_proto_version(ctx_, options.max_version);
  std::string alpn;
  for (const std::string& name : options.alpn) {
    alpn.push_back(static_cast<char>(name.size()));
    alpn += name;
  }
  ssl_ = SSL_new(ctx_);
  if (!alpn.empty())
    SSL_set_alpn_protos(ssl_, reinterpret_cast<const unsigned char*>(alpn.data()),
                        static_cast<unsigned>(alpn.size()));
  SSL_set_tlsext_host_name(ssl_, "localhost");
  SSL_set_fd(ssl_, fd());
  if (SSL_connect(ssl_) != 1) {
    SSL_free(ssl_);
    SSL_CTX_free(ctx_);
    throw std::runtime_error("the TLS handshake failed");
  }
}

TlsHttp::~TlsHttp() {
  SSL_free(ssl_);
  SSL_CTX_free(ctx_);
}

std::string TlsHttp::version() const { return SSL_get_version(ssl_); }

std::string TlsHttp::alpn() const {
  const unsigned char* name = nullptr;
  unsigned size = 0;
  SSL_get0_alpn_selected(ssl_, &name, &size);
  return {reinterpret_cast<const char*>(name), size};
}

std::string TlsHttp::server_fingerprint() const {
  unsigned char digest[EVP_MAX_MD_SIZE];
  unsigned size = 0;
  X509* certificate = SSL_get1_peer_certificate(ssl_);
  X509_digest(certificate, EVP_sha256(), digest, &size);
  X509_free(certificate);
  std::string out;
  for (unsigned i = 0; i < size; ++i) out += fmt::format("{:02x}", digest[i]);
  return out;
}

ssize_t TlsHttp::Write(std::string_view bytes) {
  return SSL_write(ssl_, bytes.data(), static_cast<int>(bytes.size()));
}
ssize_t TlsHttp::Read(char* bytes, size_t size) {
  return SSL_read(ssl_, bytes, static_cast<int>(size));
}
bool TlsHttp::Pending() const { return SSL_pending(ssl_) > 0; }

}  // namespace weft::test
