#include "libs/rpc/tls.h"

#include <grpcpp/security/credentials.h>
#include <grpcpp/security/server_credentials.h>
#include <grpcpp/server_context.h>

#include <fstream>
#include <iterator>

#include "libs/base/status.h"
#include "libs/config/binder.h"

namespace weft::rpc {
namespace {

absl::StatusOr<std::string> ReadPem(const std::string& path, const char* key) {
  if (path.empty()) return std::string();
  std::ifstream in(path, std::ios::binary);
  if (!in) return InvalidArgument("{}: cannot open '{}'", key, path);
  std::string text{std::istreambuf_iterator<char>(in), {}};
  if (in.bad() || text.find("-----BEGIN ") == std::string::npos) {
    return InvalidArgument("{}: '{}' holds no PEM data", key, path);
  }
  return text;
}

}  // namespace

absl::Status TlsOptions::Validate(bool server) const {
  if (!enabled) {
    if (certificate_file.empty() && key_file.empty() && ca_file.empty() &&
        !require_client_certificate && !request_client_certificate) {
      return absl::OkStatus();
    }
    return InvalidArgument("tls.enabled: false, but other tls keys are set");
  }
  if (certificate_file.empty() != key_file.empty()) {
    return InvalidArgument("tls.certificate_file and tls.key_file: give both or none");
  }
  if (server && certificate_file.empty()) {
    return InvalidArgument("tls.certificate_file: a server with TLS needs one");
  }
  if ((require_client_certificate || request_client_certificate) && ca_file.empty()) {
    return InvalidArgument("tls.ca_file: needed to check client certificates");
  }
  return absl::OkStatus();
}

void BindServerTls(config::Binder& binder, TlsOptions& options) {
  binder.Bool("enabled", &options.enabled, "speak TLS on the TCP addresses");
  binder.Text("certificate_file", &options.certificate_file, "PEM file: certificate and chain");
  binder.Text("key_file", &options.key_file, "PEM file: private key");
  binder.Text("ca_file", &options.ca_file, "PEM file: who signs client certificates");
  binder.Bool("require_client_certificate", &options.require_client_certificate,
              "mutual TLS: refuse clients without a certificate of ca_file");
  binder.Bool("request_client_certificate", &options.request_client_certificate,
              "take clients without a certificate, and check one that is shown");
}

void BindClientTls(config::Binder& binder, TlsOptions& options) {
  binder.Bool("enabled", &options.enabled, "speak TLS to the target");
  binder.Text("certificate_file", &options.certificate_file,
              "PEM file: own certificate, for mutual TLS");
  binder.Text("key_file", &options.key_file, "PEM file: its private key");
  binder.Text("ca_file", &options.ca_file, "PEM file: whom to trust; empty: the system's roots");
  binder.Text("server_name", &options.server_name,
              "name to verify in the server's certificate; empty: the target's host");
}

std::vector<std::string> CertificateNames(const grpc::ServerContextBase& context) {
  std::vector<std::string> names;
  const auto auth = context.auth_context();
  if (!auth || !auth->IsPeerAuthenticated()) return names;
  for (const grpc::string_ref& name : auth->FindPropertyValues("x509_subject_alternative_name")) {
    names.emplace_back(name.data(), name.size());
  }
  return names;
}

absl::StatusOr<std::shared_ptr<grpc::ServerCredentials>> ServerCredentials(const TlsOptions& tls) {
  WEFT_RETURN_IF_ERROR(tls.Validate(true));
  if (!tls.enabled) return grpc::InsecureServerCredentials();
  grpc::SslServerCredentialsOptions options(
      tls.require_client_certificate   ? GRPC_SSL_REQUEST_AND_REQUIRE_CLIENT_CERTIFICATE_AND_VERIFY
      : tls.request_client_certificate ? GRPC_SSL_REQUEST_CLIENT_CERTIFICATE_AND_VERIFY
                                       : GRPC_SSL_DONT_REQUEST_CLIENT_CERTIFICATE);
  grpc::SslServerCredentialsOptions::PemKeyCertPair pair;
  WEFT_ASSIGN_OR_RETURN(pair.private_key, ReadPem(tls.key_file, "tls.key_file"));
  WEFT_ASSIGN_OR_RETURN(pair.cert_chain, ReadPem(tls.certificate_file, "tls.certificate_file"));
  WEFT_ASSIGN_OR_RETURN(options.pem_root_certs, ReadPem(tls.ca_file, "tls.ca_file"));
  options.pem_key_cert_pairs.push_back(std::move(pair));
  return grpc::SslServerCredentials(options);
}

absl::StatusOr<std::shared_ptr<grpc::ChannelCredentials>> ChannelCredentials(
    const TlsOptions& tls) {
  WEFT_RETURN_IF_ERROR(tls.Validate(false));
  if (!tls.enabled) return grpc::InsecureChannelCredentials();
  grpc::SslCredentialsOptions options;
  WEFT_ASSIGN_OR_RETURN(options.pem_root_certs, ReadPem(tls.ca_file, "tls.ca_file"));
  WEFT_ASSIGN_OR_RETURN(options.pem_private_key, ReadPem(tls.key_file, "tls.key_file"));
  WEFT_ASSIGN_OR_RETURN(options.pem_cert_chain,
                        ReadPem(tls.certificate_file, "tls.certificate_file"));
  return grpc::SslCredentials(options);
}

}  // namespace weft::rpc
