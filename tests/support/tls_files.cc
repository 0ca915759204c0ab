#include "tests/support/tls_files.h"

#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include <cstdio>
#include <memory>
#include <stdexcept>

namespace weft::test {
namespace {

using Key = std::unique_ptr<EVP_PKEY, decltype(&EVP_PKEY_free)>;
using Certificate = std::unique_ptr<X509, decltype(&X509_free)>;

void Check(bool ok, const char* what) {
  if (!ok) throw std::runtime_error(std::string("OpenSSL: ") + what);
}

Key MakeKey() {
  Key key(EVP_PKEY_Q_keygen(nullptr, nullptr, "EC", "P-256"), &EVP_PKEY_free);
  Check(key != nullptr, "key");
  return key;
}

void AddExtension(X509* certificate, X509* issuer, int nid, const char* value) {
  X509V3_CTX context;
  X509V3_set_ctx_nodb(&context);
  X509V3_set_ctx(&context, issuer, certificate, nullptr, nullptr, 0);
  X509_EXTENSION* extension = X509V3_EXT_conf_nid(nullptr, &context, nid, value);
  Check(extension != nullptr && X509_add_ext(certificate, extension, -1) == 1, "extension");
  X509_EXTENSION_free(extension);
}

Certificate MakeCertificate(const std::string& name, long serial, EVP_PKEY* key, X509* issuer,
                            EVP_PKEY* issuer_key, const char* alternative_names) {
  Certificate certificate(X509_new(), &X509_free);
  X509* x = certificate.get();
  X509_set_version(x, 2);
  ASN1_INTEGER_set(X509_get_serialNumber(x), serial);
  X509_gmtime_adj(X509_getm_notBefore(x), -3600);
  X509_gmtime_adj(X509_getm_notAfter(x), 24 * 3600);
  X509_set_pubkey(x, key);
  X509_NAME_add_entry_by_txt(X509_get_subject_name(x), "CN", MBSTRING_UTF8,
                             reinterpret_cast<const unsigned char*>(name.c_str()), -1, -1, 0);
  X509* signer = issuer != nullptr ? issuer : x;
  X509_set_issuer_name(x, X509_get_subject_name(signer));
  AddExtension(x, signer, NID_basic_constraints,
               issuer == nullptr ? "critical,CA:TRUE" : "CA:FALSE");
  if (alternative_names != nullptr)
    AddExtension(x, signer, NID_subject_alt_name, alternative_names);
  Check(X509_sign(x, issuer_key, EVP_sha256()) > 0, "signature");
  return certificate;
}

template <typename Write>
void ToFile(const std::string& path, const Write& write) {
  FILE* file = std::fopen(path.c_str(), "w");
  Check(file != nullptr && write(file) == 1, path.c_str());
  std::fclose(file);
}

}  // namespace

void MakeTlsFiles(const std::string& folder) {
  const Key ca_key = MakeKey();
  const Certificate ca =
      MakeCertificate("test CA", 1, ca_key.get(), nullptr, ca_key.get(), nullptr);
  ToFile(folder + "/ca.pem", [&](FILE* f) { return PEM_write_X509(f, ca.get()); });
  long serial = 2;
  for (const char* name : {"server", "client"}) {
    const Key key = MakeKey();
    const Certificate certificate = MakeCertificate(name, serial++, key.get(), ca.get(),
                                                    ca_key.get(), "DNS:localhost,IP:127.0.0.1");
    const std::string stem = folder + "/" + name;
    ToFile(stem + ".pem", [&](FILE* f) { return PEM_write_X509(f, certificate.get()); });
    ToFile(stem + ".key", [&](FILE* f) {
      return PEM_write_PrivateKey(f, key.get(), nullptr, nullptr, 0, nullptr, nullptr);
    });
  }
}

}  // namespace weft::test
