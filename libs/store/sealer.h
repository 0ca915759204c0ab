// Encryption at rest: AES-256-GCM in an envelope. A master key, which the configuration holds,
// wraps data keys, one or several for each tenant, which are in the database; a data key seals
// texts. To change the master key is to wrap the data keys again; to erase a tenant is to lose its
// data keys.
//
//   wrapped   1, nonce (12), AES-256-GCM(master key, data key), tag (16)   bound to tenant and key
//   id sealed    1, nonce (12), AES-256-GCM(data key, text), tag (16)         bound to tenant,
//   kind, name
//
// Nonces are random: a data key is replaced long before 2^32 texts.
#pragma once

#include <absl/status/status.h>
#include <absl/status/statusor.h>

#include <cstdint>
#include <map>
#include <string>
#include <string_view>

#include "libs/store/database.h"

namespace weft::store {

// AES-256-GCM with a random nonce; `bound` is authenticated and not kept. `key` has 32 bytes.
std::string SealBytes(std::string_view plain, std::string_view key, std::string_view bound);
// DATA_LOSS for anything that SealBytes did not make with the same key and `bound`.
absl::StatusOr<std::string> OpenBytes(std::string_view sealed, std::string_view key,
                                      std::string_view bound);

// Master keys by id; the current one wraps what is new.
class MasterKeys {
 public:
  MasterKeys() = default;
  // "2026-01:HEX,2025-06:HEX": ids and 64 hexadecimal digits each; the first is current. Empty:
  // nothing can be sealed. INVALID_ARGUMENT does not quote a key.
  static absl::StatusOr<MasterKeys> Parse(std::string_view text);

  bool empty() const { return current_.empty(); }
  const std::string& current() const { return current_; }
  // nullptr: there is no such key.
  const std::string* Find(std::string_view id) const;

 private:
  std::string current_;
  std::map<std::string, std::string, std::less<>> keys_;
};

// Texts that are kept sealed, by tenant, kind ("signing_secret", "prompt") and name. All of them
// take part in the session's transaction; its scope must cover the tenant.
class SecretStore {
 public:
  explicit SecretStore(MasterKeys keys) : keys_(std::move(keys)) {}
  bool available() const { return !keys_.empty(); }

  // Makes or replaces. FAILED_PRECONDITION without a master key. `user_id`: whose it is, for
  // erasure.
  absl::Status Put(Session& session, std::string_view tenant, std::string_view kind,
                   std::string_view name, std::string_view user_id, std::string_view text,
                   int64_t now) const;
  // NOT_FOUND; FAILED_PRECONDITION for a master key that is not configured; DATA_LOSS for what was
  // tampered with, or moved from another place.
  absl::StatusOr<std::string> Get(Session& session, std::string_view tenant, std::string_view kind,
                                  std::string_view name) const;
  absl::Status Remove(Session& session, std::string_view tenant, std::string_view kind,
                      std::string_view name) const;

  // Wraps every data key in the scope under the current master key; returns how many were not.
  absl::StatusOr<int64_t> RewrapKeys(Session& session) const;
  // Gives a tenant a new data key and seals up to `limit` texts of older ones with it; data keys
  // that seal nothing any more go. Returns how many were sealed: 0, all are done.
  absl::StatusOr<int64_t> Reseal(Session& session, std::string_view tenant, bool new_key,
                                 size_t limit, int64_t now) const;

 private:
  struct DataKey {
    std::string id;
    std::string key;
  };
  absl::StatusOr<std::string> Unwrap(std::string_view tenant, std::string_view id,
                                     std::string_view master_id, std::string_view wrapped) const;
  absl::StatusOr<DataKey> NewDataKey(Session& session, std::string_view tenant, int64_t now) const;
  absl::StatusOr<DataKey> CurrentDataKey(Session& session, std::string_view tenant,
                                         int64_t now) const;

  MasterKeys keys_;
};

}  // namespace weft::store
