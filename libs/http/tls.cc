#include "libs/http/tls.h"

#include <fmt/format.h>
#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include <ctime>

#include "libs/base/status.h"

namespace weft::http {
namespace {

// The newest error of this thread's queue; empties it.
std::string OpenSslError() {
  char text[256] = "unknown error";
  if (const unsigned long code = ERR_peek_last_error(); code != 0) {
    ERR_error_string_n(code, text, sizeof(text));
  }
  ERR_clear_error();
  return text;
}

// A socket as OpenSSL's own, but a peer that is gone is an error and not SIGPIPE.
int BioWrite(BIO* bio, const char* bytes, int size) {
  const int fd = static_cast<int>(reinterpret_cast<intptr_t>(BIO_get_data(bio)));
  BIO_clear_retry_flags(bio);
  const ssize_t n = send(fd, bytes, static_cast<size_t>(size), MSG_NOSIGNAL | MSG_DONTWAIT);
  if (n < 0 && (errno == EAGAIN || errno == EINTR)) BIO_set_retry_write(bio);
  return static_cast<int>(n);
}

int BioRead(BIO* bio, char* bytes, int size) {
  const int fd = static_cast<int>(reinterpret_cast<intptr_t>(BIO_get_data(bio)));
  BIO_clear_retry_flags(bio);
  const ssize_t n = recv(fd, bytes, static_cast<size_t>(size), MSG_DONTWAIT);
  if (n < 0 && (errno == EAGAIN || errno == EINTR)) BIO_set_retry_read(bio);
  return static_cast<int>(n);
}

long BioControl(BIO*, int command, long, void*) { return command == BIO_CTRL_FLUSH ? 1 : 0; }

const BIO_METHOD* SocketBio() {
  static const BIO_METHOD* const method = [] {
    BIO_METHOD* made = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "weft socket");
    BIO_meth_set_write(made, BioWrite);
    BIO_meth_set_read(made, BioRead);
    BIO_meth_set_ctrl(made, BioControl);
    return made;
  }();
  return method;
}

class OpenSslContext final : public TlsContext {
 public:
  OpenSslContext() : ctx_(SSL_CTX_new(TLS_server_method())) {}
  ~OpenSslContext() override { SSL_CTX_free(ctx_); }

  absl::Status Init(const TlsSettings& settings) {
    if (ctx_ == nullptr) return Internal("TLS: {}", OpenSslError());
    SSL_CTX_set_min_proto_version(ctx_, settings.allow_tls12 ? TLS1_2_VERSION : TLS1_3_VERSION);
    // TLS 1.2: forward secrecy and AEAD alone.
    SSL_CTX_set_cipher_list(ctx_, "ECDHE+AESGCM:ECDHE+CHACHA20");
    SSL_CTX_set_options(ctx_, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION |
                                  SSL_OP_CIPHER_SERVER_PREFERENCE | SSL_OP_PRIORITIZE_CHACHA);
    SSL_CTX_set_mode(ctx_, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
                               SSL_MODE_RELEASE_BUFFERS);
    static constexpr unsigned char kSessionContext[] = "weft";
    SSL_CTX_set_session_id_context(ctx_, kSessionContext, sizeof(kSessionContext) - 1);
    if (SSL_CTX_use_certificate_chain_file(ctx_, settings.certificate_file.c_str()) != 1) {
      return InvalidArgument("tls.certificate_file: '{}': {}", settings.certificate_file,
                             OpenSslError());
    }
    if (SSL_CTX_use_PrivateKey_file(ctx_, settings.key_file.c_str(), SSL_FILETYPE_PEM) != 1) {
      return InvalidArgument("tls.key_file: '{}': {}", settings.key_file, OpenSslError());
    }
    if (SSL_CTX_check_private_key(ctx_) != 1) {
      return InvalidArgument("tls.key_file: '{}' is not the key of '{}'", settings.key_file,
                             settings.certificate_file);
    }
    if (!settings.ca_file.empty()) {
      if (SSL_CTX_load_verify_locations(ctx_, settings.ca_file.c_str(), nullptr) != 1) {
        return InvalidArgument("tls.ca_file: '{}': {}", settings.ca_file, OpenSslError());
      }
      SSL_CTX_set_client_CA_list(ctx_, SSL_load_client_CA_file(settings.ca_file.c_str()));
      SSL_CTX_set_verify(
          ctx_,
          SSL_VERIFY_PEER |
              (settings.require_client_certificate ? SSL_VERIFY_FAIL_IF_NO_PEER_CERT : 0),
          nullptr);
    }
    for (const std::string& name : settings.alpn) {
      alpn_.push_back(static_cast<char>(name.size()));
      alpn_ += name;
    }
    SSL_CTX_set_alpn_select_cb(ctx_, &SelectAlpn, this);
    return ReadCertificate();
  }

  SSL_CTX* get() const { return ctx_; }
  int64_t not_after() const override { return not_after_; }
  std::string fingerprint() const override { return fingerprint_; }

 private:
  static int SelectAlpn(SSL*, const unsigned char** out, unsigned char* out_size,
                        const unsigned char* in, unsigned int in_size, void* self) {
    const std::string& ours = static_cast<OpenSslContext*>(self)->alpn_;
    unsigned char* chosen = nullptr;
    if (SSL_select_next_proto(
            &chosen, out_size, reinterpret_cast<const unsigned char*>(ours.data()),
            static_cast<unsigned>(ours.size()), in, in_size) != OPENSSL_NPN_NEGOTIATED) {
      return SSL_TLSEXT_ERR_ALERT_FATAL;  // RFC 7301 section 3.2: no_application_protocol
    }
    *out = chosen;
    return SSL_TLSEXT_ERR_OK;
  }

  absl::Status ReadCertificate() {
    X509* certificate = SSL_CTX_get0_certificate(ctx_);
    std::tm end{};
    if (certificate == nullptr || ASN1_TIME_to_tm(X509_get0_notAfter(certificate), &end) != 1) {
      return InvalidArgument("tls.certificate_file: the certificate has no end");
    }
    not_after_ = timegm(&end);
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned size = 0;
    X509_digest(certificate, EVP_sha256(), digest, &size);
    for (unsigned i = 0; i < size; ++i) fingerprint_ += fmt::format("{:02x}", digest[i]);
    return absl::OkStatus();
  }

  SSL_CTX* const ctx_;
  std::string alpn_;  // as on the wire
  int64_t not_after_ = 0;
  std::string fingerprint_;
};

// The client's certificate as far as it may name somebody; the chain was verified.
void FillPeer(SSL* ssl, TlsPeer& peer) {
  peer.version = SSL_get_version(ssl);
  const unsigned char* alpn = nullptr;
  unsigned alpn_size = 0;
  SSL_get0_alpn_selected(ssl, &alpn, &alpn_size);
  peer.alpn.assign(reinterpret_cast<const char*>(alpn), alpn_size);
  if (const char* name = SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name))
    peer.server_name = name;
  X509* certificate = SSL_get0_peer_certificate(ssl);
  if (certificate == nullptr || SSL_get_verify_result(ssl) != X509_V_OK) return;
  BIO* text = BIO_new(BIO_s_mem());
  X509_NAME_print_ex(text, X509_get_subject_name(certificate), 0, XN_FLAG_RFC2253);
  char* bytes = nullptr;
  const long size = BIO_get_mem_data(text, &bytes);
  peer.client_subject.assign(bytes, static_cast<size_t>(size));
  BIO_free(text);
  auto* names = static_cast<GENERAL_NAMES*>(
      X509_get_ext_d2i(certificate, NID_subject_alt_name, nullptr, nullptr));
  for (int i = 0; names != nullptr && i < sk_GENERAL_NAME_num(names); ++i) {
    const GENERAL_NAME* name = sk_GENERAL_NAME_value(names, i);
    const char* kind = name->type == GEN_DNS     ? "DNS"
                       : name->type == GEN_URI   ? "URI"
                       : name->type == GEN_EMAIL ? "email"
                                                 : nullptr;
    if (kind == nullptr) continue;
    const ASN1_STRING* value = name->d.ia5;
    std::string_view shown(reinterpret_cast<const char*>(ASN1_STRING_get0_data(value)),
                           static_cast<size_t>(ASN1_STRING_length(value)));
    if (shown.find('\0') != std::string_view::npos) continue;  // a name made to be read as another
    peer.client_names.push_back(fmt::format("{}:{}", kind, shown));
  }
  GENERAL_NAMES_free(names);
}

class OpenSslSession final : public TlsSession {
 public:
  OpenSslSession(std::shared_ptr<const TlsContext> context, int fd)
      : context_(std::move(context)),
        ssl_(SSL_new(static_cast<const OpenSslContext&>(*context_).get())) {
    if (ssl_ == nullptr) return;
    BIO* bio = BIO_new(SocketBio());
    BIO_set_data(bio, reinterpret_cast<void*>(static_cast<intptr_t>(fd)));
    BIO_set_init(bio, 1);
    SSL_set_bio(ssl_, bio, bio);
    SSL_set_accept_state(ssl_);
  }
  ~OpenSslSession() override { SSL_free(ssl_); }

  Io Handshake() override {
    if (ssl_ == nullptr) return Io::kFailed;
    ERR_clear_error();
    const int n = SSL_do_handshake(ssl_);
    if (n != 1) return Result(n);
    auto peer = std::make_shared<TlsPeer>();
    FillPeer(ssl_, *peer);
    peer_ = std::move(peer);
    return Io::kDone;
  }
  Io Read(char* bytes, size_t size, size_t* taken) override {
    *taken = 0;
    if (failed_) return Io::kFailed;
    ERR_clear_error();
    const int n = SSL_read_ex(ssl_, bytes, size, taken);
    return n == 1 ? Io::kDone : Result(n);
  }
  Io Write(std::string_view bytes, size_t* taken) override {
    *taken = 0;
    if (failed_) return Io::kFailed;
    ERR_clear_error();
    const int n = SSL_write_ex(ssl_, bytes.data(), bytes.size(), taken);
    return n == 1 ? Io::kDone : Result(n);
  }
  void Close() override {
    if (failed_ || !peer_) return;
    ERR_clear_error();
    SSL_shutdown(ssl_);
    ERR_clear_error();
  }
  std::shared_ptr<const TlsPeer> peer() const override { return peer_; }

 private:
  Io Result(int n) {
    switch (SSL_get_error(ssl_, n)) {
      case SSL_ERROR_WANT_READ:
        return Io::kWantRead;
      case SSL_ERROR_WANT_WRITE:
        return Io::kWantWrite;
      case SSL_ERROR_ZERO_RETURN:
        return Io::kEnd;
      default:
        failed_ = true;  // OpenSSL allows no further call
        ERR_clear_error();
        return Io::kFailed;
    }
  }

  const std::shared_ptr<const TlsContext> context_;
  SSL* const ssl_;
  bool failed_ = false;
  std::shared_ptr<const TlsPeer> peer_;
};

}  // namespace

absl::StatusOr<std::shared_ptr<const TlsContext>> TlsContext::Load(const TlsSettings& settings) {
  auto context = std::make_shared<OpenSslContext>();
  WEFT_RETURN_IF_ERROR(context->Init(settings));
  return std::shared_ptr<const TlsContext>(std::move(context));
}

std::unique_ptr<TlsSession> TlsSession::Accept(std::shared_ptr<const TlsContext> context, int fd) {
  return std::make_unique<OpenSslSession>(std::move(context), fd);
}

absl::StatusOr<std::shared_ptr<TlsCertificates>> TlsCertificates::Open(TlsSettings settings) {
  std::shared_ptr<TlsCertificates> out(new TlsCertificates(std::move(settings)));
  out->stamp_ = out->Stamp();
  WEFT_ASSIGN_OR_RETURN(out->current_, TlsContext::Load(out->settings_));
  return out;
}

std::shared_ptr<const TlsContext> TlsCertificates::Current() const {
  std::lock_guard lock(mutex_);
  return current_;
}

std::string TlsCertificates::Stamp() const {
  std::string out;
  for (const std::string& file :
       {settings_.certificate_file, settings_.key_file, settings_.ca_file}) {
    struct stat s {};
    if (file.empty() || stat(file.c_str(), &s) != 0) continue;
    out += fmt::format("{}.{}.{}.{}.{};", s.st_dev, s.st_ino, s.st_size, s.st_mtim.tv_sec,
                       s.st_mtim.tv_nsec);
  }
  return out;
}

absl::StatusOr<bool> TlsCertificates::ReloadIfChanged() {
  const std::string now = Stamp();
  {
    std::lock_guard lock(mutex_);
    if (now == stamp_) return false;
  }
  auto loaded = TlsContext::Load(settings_);
  std::lock_guard lock(mutex_);
  stamp_ = now;
  if (!loaded.ok()) return loaded.status();
  current_ = *std::move(loaded);
  return true;
}

}  // namespace weft::http
