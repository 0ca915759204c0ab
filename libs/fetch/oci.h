// Artifacts in OCI registries: https://github.com/opencontainers/distribution-spec
#pragma once

#include <absl/status/statusor.h>

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "libs/fetch/source.h"

namespace weft::fetch {

struct OciReference {
  std::string host;  // with the port
  std::string name;
  std::string tag;     // empty when there is a digest
  std::string digest;  // sha256:HEX
};

// oci://HOST[:PORT]/NAME[:TAG|@sha256:HEX]; the tag is `latest` by default.
absl::StatusOr<OciReference> ParseOciReference(std::string_view locator);

// WWW-Authenticate: the scheme, and its parameters (RFC 9110, 11.6.1).
struct Challenge {
  std::string scheme;  // lower case
  std::map<std::string, std::string> parameters;
};
absl::StatusOr<Challenge> ParseChallenge(std::string_view text);

// A manifest's files: each layer with an org.opencontainers.image.title annotation.
struct OciLayer {
  std::string name;
  std::string sha256;
  uint64_t size = 0;
};
absl::StatusOr<std::vector<OciLayer>> ParseManifest(std::string_view json);

// "user:password" in base64 that Docker's config.json has for a registry; empty: none there.
absl::StatusOr<std::string> DockerAuth(std::string_view json, std::string_view host);

// Asks the registry for the manifest, and its token service for a token where it wants one.
absl::StatusOr<std::vector<RemoteFile>> ResolveOci(const std::string& locator,
                                                   const SourceOptions& options);

}  // namespace weft::fetch
