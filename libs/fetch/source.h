// What stands behind a locator: files to download, and how their requests are authorised.
//
//   https://HOST/PATH, http://HOST/PATH   one file, or every part of a split GGUF
//   s3://BUCKET/KEY                       the same, of S3 or a store that is compatible with it
//   oci://HOST[:PORT]/NAME[:TAG|@DIGEST]  the files of an artifact in a registry
#pragma once

#include <absl/status/statusor.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "libs/fetch/aws_signature.h"
#include "libs/fetch/http_get.h"

namespace weft::fetch {

// One file. The headers are asked for before each request: a signature and a token end.
struct RemoteFile {
  std::string name = {};  // below the folder that it goes to; never absolute, never with ".."
  std::string url = {};
  uint64_t size = 0;        // 0: not known before the server says it
  std::string sha256 = {};  // lower-case hex; empty: not known
  // `renew`: what was given last was refused with 401. An error ends the download.
  std::function<absl::StatusOr<std::vector<std::string>>(bool renew)> headers = {};
};

struct SourceOptions {
  HttpOptions http;
  bool plain_http = false;  // registries without TLS
  AwsCredentials aws;       // empty: anonymous
  std::string aws_region = "us-east-1";
  std::string aws_endpoint;   // https://HOST[:PORT]; empty: AWS itself
  std::string docker_config;  // path of a config.json with `auths`; empty: anonymous
};

// Settings that AWS' and Docker's own tools use: AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY,
// AWS_SESSION_TOKEN, AWS_REGION or AWS_DEFAULT_REGION, AWS_ENDPOINT_URL_S3 or AWS_ENDPOINT_URL,
// DOCKER_CONFIG (a folder; without it ~/.docker), SSL_CERT_FILE.
SourceOptions FromEnvironment();

// INVALID_ARGUMENT for a locator that is none, with what is wrong in it. Only a registry is asked
// for something here: its manifest.
absl::StatusOr<std::vector<RemoteFile>> Resolve(const std::string& locator,
                                                const SourceOptions& options);

// "model-00001-of-00003.gguf" -> the three names; any other name -> itself. INVALID_ARGUMENT for a
// part that is not the first, or more than 1,000 parts.
absl::StatusOr<std::vector<std::string>> PartsOf(const std::string& name);

// INVALID_ARGUMENT for a name that could leave the folder.
absl::Status CheckName(std::string_view name);

}  // namespace weft::fetch
