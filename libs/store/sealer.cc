#include "libs/store/sealer.h"

#include <openssl/evp.h>

#include <memory>

#include "libs/base/ids.h"
#include "libs/base/status.h"

namespace weft::store {
namespace {

constexpr size_t kKeyBytes = 32;
constexpr size_t kNonceBytes = 12;
constexpr size_t kTagBytes = 16;
constexpr char kVersion = 1;

using CipherContext = std::unique_ptr<EVP_CIPHER_CTX, decltype(&EVP_CIPHER_CTX_free)>;

const unsigned char* Data(std::string_view text) {
  return reinterpret_cast<const unsigned char*>(text.data());
}
unsigned char* Data(std::string& text) { return reinterpret_cast<unsigned char*>(text.data()); }

// Parts that cannot run into each other.
std::string Bound(std::string_view purpose, std::string_view a, std::string_view b,
                  std::string_view c = {}) {
  return fmt::format("{}\n{}:{}\n{}:{}\n{}:{}", purpose, a.size(), a, b.size(), b, c.size(), c);
}

}  // namespace

std::string SealBytes(std::string_view plain, std::string_view key, std::string_view bound) {
  WEFT_CHECK(key.size() == kKeyBytes);
  std::string out(1 + kNonceBytes + plain.size() + kTagBytes, kVersion);
  RandomBytes({Data(out) + 1, kNonceBytes});
  const CipherContext context(EVP_CIPHER_CTX_new(), &EVP_CIPHER_CTX_free);
  int size = 0;
  const bool good =
      context != nullptr &&
      EVP_EncryptInit_ex(context.get(), EVP_aes_256_gcm(), nullptr, Data(key), Data(out) + 1) ==
          1 &&
      EVP_EncryptUpdate(context.get(), nullptr, &size, Data(bound),
                        static_cast<int>(bound.size())) == 1 &&
      EVP_EncryptUpdate(context.get(), Data(out) + 1 + kNonceBytes, &size, Data(plain),
                        static_cast<int>(plain.size())) == 1 &&
      EVP_EncryptFinal_ex(context.get(), Data(out) + 1 + kNonceBytes + size, &size) == 1 &&
      EVP_CIPHER_CTX_ctrl(context.get(), EVP_CTRL_GCM_GET_TAG, kTagBytes,
                          Data(out) + 1 + kNonceBytes + plain.size()) == 1;
  WEFT_CHECK(good);
  return out;
}

absl::StatusOr<std::string> OpenBytes(std::string_view sealed, std::string_view key,
                                      std::string_view bound) {
  const auto bad = [] { return DataLoss("a sealed text was tampered with, or is another's"); };
  if (key.size() != kKeyBytes || sealed.size() < 1 + kNonceBytes + kTagBytes ||
      sealed[0] != kVersion) {
    return bad();
  }
  const std::string_view nonce = sealed.substr(1, kNonceBytes);
  const std::string_view body =
      sealed.substr(1 + kNonceBytes, sealed.size() - 1 - kNonceBytes - kTagBytes);
  std::string tag(sealed.substr(sealed.size() - kTagBytes));
  std::string out(body.size(), '\0');
  const CipherContext context(EVP_CIPHER_CTX_new(), &EVP_CIPHER_CTX_free);
  int size = 0;
  const bool good =
      context != nullptr &&
      EVP_DecryptInit_ex(context.get(), EVP_aes_256_gcm(), nullptr, Data(key), Data(nonce)) == 1 &&
      EVP_DecryptUpdate(context.get(), nullptr, &size, Data(bound),
                        static_cast<int>(bound.size())) == 1 &&
      EVP_DecryptUpdate(context.get(), Data(out), &size, Data(body),
                        static_cast<int>(body.size())) == 1 &&
      EVP_CIPHER_CTX_ctrl(context.get(), EVP_CTRL_GCM_SET_TAG, kTagBytes, Data(tag)) == 1 &&
      EVP_DecryptFinal_ex(context.get(), Data(out) + size, &size) == 1;
  if (!good) return bad();
  return out;
}

absl::StatusOr<MasterKeys> MasterKeys::Parse(std::string_view text) {
  MasterKeys keys;
  while (!text.empty()) {
    const size_t comma = text.find(',');
    const std::string_view one = text.substr(0, comma);
    text.remove_prefix(comma == std::string_view::npos ? text.size() : comma + 1);
    const size_t colon = one.find(':');
    std::string key(kKeyBytes, '\0');
    if (colon == std::string_view::npos || colon == 0 || colon > 64 ||
        !ParseHex(one.substr(colon + 1), {Data(key), key.size()})) {
      return InvalidArgument("master key {}: expected an id, ':' and 64 hexadecimal digits",
                             keys.keys_.size() + 1);
    }
    const std::string id(one.substr(0, colon));
    if (!keys.keys_.emplace(id, std::move(key)).second) {
      return InvalidArgument("master key '{}' is there twice", id);
    }
    if (keys.current_.empty()) keys.current_ = id;
  }
  return keys;
}

const std::string* MasterKeys::Find(std::string_view id) const {
  const auto it = keys_.find(id);
  return it == keys_.end() ? nullptr : &it->second;
}

absl::StatusOr<std::string> SecretStore::Unwrap(std::string_view tenant, std::string_view id,
                                                std::string_view master_id,
                                                std::string_view wrapped) const {
  const std::string* master = keys_.Find(master_id);
  if (master == nullptr) {
    return FailedPrecondition("the master key '{}' is not configured, and data is sealed under it",
                              master_id);
  }
  return OpenBytes(wrapped, *master, Bound("weft.data_key", tenant, id));
}

absl::StatusOr<SecretStore::DataKey> SecretStore::NewDataKey(Session& session,
                                                             std::string_view tenant,
                                                             int64_t now) const {
  if (keys_.empty()) return FailedPrecondition("no master key is configured to seal data under");
  DataKey made{NewRequestId(), std::string(kKeyBytes, '\0')};
  RandomBytes({Data(made.key), made.key.size()});
  const std::string wrapped =
      SealBytes(made.key, *keys_.Find(keys_.current()), Bound("weft.data_key", tenant, made.id));
  WEFT_RETURN_IF_ERROR(
      session
          .Run("INSERT INTO data_keys (id, tenant, master_key_id, wrapped, created_at) VALUES ($1, "
               "$2, $3, $4, $5)",
               {made.id, tenant, keys_.current(), Value::Blob(wrapped), now})
          .status());
  return made;
}

absl::StatusOr<SecretStore::DataKey> SecretStore::CurrentDataKey(Session& session,
                                                                 std::string_view tenant,
                                                                 int64_t now) const {
  // Ids sort by time of creation.
  WEFT_ASSIGN_OR_RETURN(const Result found,
                        session.Run("SELECT id, master_key_id, wrapped FROM data_keys WHERE tenant "
                                    "= $1 ORDER BY id DESC LIMIT 1",
                                    {tenant}));
  if (found.rows.empty()) return NewDataKey(session, tenant, now);
  const Row& row = found.rows[0];
  WEFT_ASSIGN_OR_RETURN(std::string key, Unwrap(tenant, row.Text(0), row.Text(1), row[2].Text()));
  return DataKey{row.Text(0), std::move(key)};
}

absl::Status SecretStore::Put(Session& session, std::string_view tenant, std::string_view kind,
                              std::string_view name, std::string_view user_id,
                              std::string_view text, int64_t now) const {
  if (!session.scope().Covers(tenant)) return PermissionDenied("a secret of another tenant");
  if (keys_.empty()) return FailedPrecondition("no master key is configured to seal data under");
  WEFT_ASSIGN_OR_RETURN(const DataKey key, CurrentDataKey(session, tenant, now));
  const std::string sealed = SealBytes(text, key.key, Bound("weft.secret", tenant, kind, name));
  return session
      .Run(
          "INSERT INTO secrets (tenant, kind, name, user_id, data_key_id, sealed, created_at) "
          "VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (tenant, kind, name) DO UPDATE SET "
          "user_id = excluded.user_id, data_key_id = excluded.data_key_id, sealed = "
          "excluded.sealed, created_at = excluded.created_at",
          {tenant, kind, name, user_id, key.id, Value::Blob(sealed), now})
      .status();
}

absl::StatusOr<std::string> SecretStore::Get(Session& session, std::string_view tenant,
                                             std::string_view kind, std::string_view name) const {
  if (!session.scope().Covers(tenant)) return PermissionDenied("a secret of another tenant");
  WEFT_ASSIGN_OR_RETURN(
      const Result found,
      session.Run("SELECT s.sealed, k.id, k.master_key_id, k.wrapped FROM secrets s JOIN data_keys "
                  "k ON k.id = s.data_key_id WHERE s.tenant = $1 AND s.kind = $2 AND s.name = $3",
                  {tenant, kind, name}));
  if (found.rows.empty()) return NotFound("there is no {} '{}'", kind, name);
  const Row& row = found.rows[0];
  WEFT_ASSIGN_OR_RETURN(const std::string key,
                        Unwrap(tenant, row.Text(1), row.Text(2), row[3].Text()));
  return OpenBytes(row[0].Text(), key, Bound("weft.secret", tenant, kind, name));
}

absl::Status SecretStore::Remove(Session& session, std::string_view tenant, std::string_view kind,
                                 std::string_view name) const {
  if (!session.scope().Covers(tenant)) return PermissionDenied("a secret of another tenant");
  WEFT_ASSIGN_OR_RETURN(
      const Result done,
      session.Run("DELETE FROM secrets WHERE tenant = $1 AND kind = $2 AND name = $3",
                  {tenant, kind, name}));
  return done.changed > 0 ? absl::OkStatus() : NotFound("there is no {} '{}'", kind, name);
}

absl::StatusOr<int64_t> SecretStore::RewrapKeys(Session& session) const {
  if (keys_.empty()) return FailedPrecondition("no master key is configured to seal data under");
  WEFT_ASSIGN_OR_RETURN(
      const Result found,
      session.Run(fmt::format("SELECT id, tenant, master_key_id, wrapped FROM data_keys WHERE "
                              "master_key_id <> $1 AND {} ORDER BY id",
                              session.scope().system() ? "TRUE" : "tenant = $2"),
                  {keys_.current(), session.scope().tenant()}));
  for (const Row& row : found.rows) {
    WEFT_ASSIGN_OR_RETURN(const std::string key,
                          Unwrap(row.Text(1), row.Text(0), row.Text(2), row[3].Text()));
    const std::string wrapped = SealBytes(key, *keys_.Find(keys_.current()),
                                          Bound("weft.data_key", row.Text(1), row.Text(0)));
    WEFT_RETURN_IF_ERROR(
        session
            .Run("UPDATE data_keys SET master_key_id = $2, wrapped = $3 WHERE id = $1",
                 {row.Text(0), keys_.current(), Value::Blob(wrapped)})
            .status());
  }
  return static_cast<int64_t>(found.rows.size());
}

absl::StatusOr<int64_t> SecretStore::Reseal(Session& session, std::string_view tenant, bool new_key,
                                            size_t limit, int64_t now) const {
  if (!session.scope().Covers(tenant)) return PermissionDenied("secrets of another tenant");
  if (new_key) WEFT_RETURN_IF_ERROR(NewDataKey(session, tenant, now).status());
  WEFT_ASSIGN_OR_RETURN(const DataKey key, CurrentDataKey(session, tenant, now));
  WEFT_ASSIGN_OR_RETURN(
      const Result found,
      session.Run("SELECT kind, name FROM secrets WHERE tenant = $1 AND data_key_id <> $2 ORDER BY "
                  "kind, name LIMIT $3",
                  {tenant, key.id, static_cast<int64_t>(limit)}));
  for (const Row& row : found.rows) {
    WEFT_ASSIGN_OR_RETURN(const std::string text, Get(session, tenant, row.Text(0), row.Text(1)));
    const std::string sealed =
        SealBytes(text, key.key, Bound("weft.secret", tenant, row.Text(0), row.Text(1)));
    WEFT_RETURN_IF_ERROR(session
                             .Run("UPDATE secrets SET data_key_id = $4, sealed = $5 WHERE tenant = "
                                  "$1 AND kind = $2 AND name = $3",
                                  {tenant, row.Text(0), row.Text(1), key.id, Value::Blob(sealed)})
                             .status());
  }
  WEFT_RETURN_IF_ERROR(
      session
          .Run("DELETE FROM data_keys WHERE tenant = $1 AND id <> $2 AND NOT EXISTS (SELECT 1 FROM "
               "secrets WHERE secrets.data_key_id = data_keys.id)",
               {tenant, key.id})
          .status());
  return static_cast<int64_t>(found.rows.size());
}

}  // namespace weft::store
