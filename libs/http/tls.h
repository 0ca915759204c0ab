// TLS for the server's connections: certificates that can be exchanged while it runs, and one
// session over a non-blocking socket. OpenSSL's types stay in tls.cc.
#pragma once

#include <absl/status/status.h>
#include <absl/status/statusor.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "libs/http/message.h"

namespace weft::http {

struct TlsSettings {
  std::string certificate_file;  // PEM: certificate and chain
  std::string key_file;          // PEM
  std::string ca_file;           // PEM: who signs client certificates; empty: none is asked for
  bool require_client_certificate = false;
  bool allow_tls12 = false;
  std::vector<std::string> alpn = {"http/1.1"};  // in order of preference
};

// One set of certificates as it was read. Immutable, shared by the sessions that began with it.
class TlsContext {
 public:
  // The error names the file.
  static absl::StatusOr<std::shared_ptr<const TlsContext>> Load(const TlsSettings& settings);
  virtual ~TlsContext() = default;
  virtual int64_t not_after() const = 0;        // Unix seconds: when the certificate ends
  virtual std::string fingerprint() const = 0;  // of the certificate: SHA-256 in hex
};

// The certificates of a server. Thread safe.
class TlsCertificates {
 public:
  static absl::StatusOr<std::shared_ptr<TlsCertificates>> Open(TlsSettings settings);

  std::shared_ptr<const TlsContext> Current() const;
  // Reads the files again when they changed since they were last read (size, time or inode;
  // symbolic links are followed, as Kubernetes exchanges them). New connections then use the new
  // certificates, open ones keep theirs. True when they were exchanged. An error (a certificate
  // whose key is not written yet, say) leaves the old ones in use until the files change again.
  // Blocks on the disk.
  absl::StatusOr<bool> ReloadIfChanged();

 private:
  explicit TlsCertificates(TlsSettings settings) : settings_(std::move(settings)) {}
  std::string Stamp() const;

  const TlsSettings settings_;
  mutable std::mutex mutex_;
  std::shared_ptr<const TlsContext> current_;
  std::string stamp_;
};

// The server's side of one connection. One thread at a time. Does not own the socket.
class TlsSession {
 public:
  enum class Io : uint8_t { kDone, kWantRead, kWantWrite, kEnd, kFailed };

  static std::unique_ptr<TlsSession> Accept(std::shared_ptr<const TlsContext> context, int fd);
  virtual ~TlsSession() = default;

  // kWantRead and kWantWrite: call again with the same bytes when the socket is ready for it.
  virtual Io Handshake() = 0;
  virtual Io Read(char* bytes, size_t size, size_t* taken) = 0;  // kEnd: closed in order
  virtual Io Write(std::string_view bytes, size_t* taken) = 0;
  virtual void Close() = 0;  // says so to the peer if the socket takes it at once

  // After the handshake.
  virtual std::shared_ptr<const TlsPeer> peer() const = 0;
};

}  // namespace weft::http
