// API keys in a file: the hashes of keys that several gateways take alike, such as a mounted
// Secret.
//
//   {"keys": [{"id": "0kQ…", "name": "ci", "tenant": "default", "role": "developer",
//              "requests_per_minute": 60, "created_at": 1790000000, "expires_at": 0,
//              "salt": "<32 hex digits>", "hash": "<64 hex digits>", "max_priority": "low",
//              "project": "p", "environment": "prod", "scopes": ["models:use"],
//              "allowed_ips": ["192.0.2.0/24"], "allowed_models": ["llama-*"]}]}
//
// What comes after "hash" may be missing: as the role may, and nothing restricted. Times are Unix
// seconds, 0 = never. The hash is HashApiKey's, so it depends on the pepper.
#pragma once

#include <absl/status/status.h>
#include <absl/status/statusor.h>

#include <string>
#include <string_view>
#include <vector>

#include "libs/store/key_store.h"

namespace weft::identity {

// Other fields are needed, none beyond them is taken, and no id may come twice.
// INVALID_ARGUMENT names the field (keys[3].role) or the byte offset.
absl::StatusOr<std::vector<store::KeyRecord>> ParseKeyFile(std::string_view text);

std::string FormatKeyFile(const std::vector<store::KeyRecord>& keys);

// As ParseKeyFile, with the path in front. FAILED_PRECONDITION for a file that cannot be read or
// has more than 16 MiB.
absl::StatusOr<std::vector<store::KeyRecord>> ReadKeyFile(const std::string& path);

// Writes the text with mode 0600. The file appears whole, or not at all. FAILED_PRECONDITION names
// it.
absl::Status WriteSecretFile(const std::string& path, std::string_view text);

}  // namespace weft::identity
