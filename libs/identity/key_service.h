// Makes, lists, revokes and verifies API keys over a store.
#pragma once

#include <absl/status/status.h>
#include <absl/status/statusor.h>

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <shared_mutex>
#include <string>
#include <string_view>
#include <thread>
#include <unordered_map>
#include <vector>

#include "libs/base/clock.h"
#include "libs/base/ip_address.h"
#include "libs/identity/authenticator.h"
#include "libs/identity/request_signature.h"
#include "libs/identity/role.h"
#include "libs/identity/seen_set.h"
#include "libs/store/key_store.h"

namespace weft::identity {

struct KeyServiceOptions {
  std::string pepper;  // part of every hash; another pepper makes every key invalid
  // How often the store is asked whether another process changed it: bounds how long a key lives
  // after it was revoked elsewhere. Here it ends at once.
  std::chrono::milliseconds poll_interval{250};
  size_t cache_entries = 100'000;
  // Keys of a file (key_file.h). They come before the store's, hold as long as the service lives,
  // and cannot be revoked through it.
  std::vector<store::KeyRecord> declared = {};
  std::shared_ptr<const RoleDirectory> roles = BuiltInRoleBook();
  std::string environment = {};  // of new keys' texts; empty: none
  // Takes requests that are signed with a key's signing secret; needs a pepper of at least 32
  // bytes. Shared by all gateways where there are several.
  std::shared_ptr<SeenSet> nonces = {};
  // Of a key of the store: roles that were bound to it besides its own. Empty: there are none.
  std::function<absl::StatusOr<std::vector<std::string>>(const store::KeyRecord&)> bound_roles = {};
};

struct NewKey {
  std::string name;                      // 1 to 100 bytes
  std::string tenant = "default";        // letters, digits, '.', '_', '-'; 1 to 100
  std::string role{kDefaultRole};        // one or several names: "developer,auditor"
  uint32_t requests_per_minute = 60;     // 1 to 1,000,000
  std::string max_priority = {};         // of its requests: "low", "normal", "high"; empty: by role
  int64_t expires_at = 0;                // Unix seconds, in the future; 0 = never
  std::string project = {};              // empty: none
  std::vector<std::string> scopes = {};  // permissions it keeps of its roles'; empty: all
  std::vector<std::string> addresses = {};  // and networks it may be used from; empty: any
  std::vector<std::string> models = {};     // it may use of its roles' (model_access.h); empty: all
};

// What holds for every key, however it was made: name, tenant, roles and rate. Roles need not
// exist: one that does not grants nothing. INVALID_ARGUMENT with the field's name as payload
// (WithField).
absl::Status CheckKeyFields(const NewKey& key);

struct CreatedKey {
  store::KeyRecord record;
  std::string text;                 // shown once, kept nowhere
  std::string signing_secret = {};  // likewise; empty: signed requests are not taken
};

// A new key and its record; writes nothing. INVALID_ARGUMENT as CheckKeyFields, and for a time of
// expiry that is not after `now` (Unix seconds).
absl::StatusOr<CreatedKey> MakeKey(const NewKey& key, std::string_view pepper, int64_t now,
                                   std::string_view environment = {});

// Thread safe.
class KeyService final : public Authenticator {
 public:
  KeyService(std::unique_ptr<store::KeyStore> store, KeyServiceOptions options,
             Clock& clock = Clock::Real());
  ~KeyService() override;

  // INVALID_ARGUMENT with the field's name as payload (WithField), also for a role that is not
  // there. Blocks for a disk write.
  absl::StatusOr<CreatedKey> Create(const NewKey& key);
  // What such a key would be: nothing is made. Errors as Create.
  absl::StatusOr<Principal> Preview(const NewKey& key) const;
  absl::StatusOr<std::optional<store::KeyRecord>> Find(std::string_view id);
  // Who comes in with it, ended or not. NOT_FOUND.
  absl::StatusOr<PrincipalPtr> PrincipalOf(std::string_view id);
  absl::StatusOr<std::vector<store::KeyRecord>> List(std::string_view tenant);
  // A new key that may do what the old one may; the old one ends after `overlap`, if not sooner.
  // NOT_FOUND, and FAILED_PRECONDITION for a key that has ended already or is declared in the file.
  absl::StatusOr<CreatedKey> Rotate(std::string_view id, std::chrono::seconds overlap);
  // NOT_FOUND. In force here when it returns.
  absl::Status Revoke(std::string_view id);

  absl::StatusOr<PrincipalPtr> Authenticate(const Credentials& credentials) override;

  // How the store's last use ended. After an error it is tried again at every poll.
  absl::Status store_status() const;

  // Asks the store for changes, and every 5 s writes the times of last use that are still in
  // memory. The thread does this; tests may call it.
  void Maintain();

 private:
  struct Entry {
    store::KeyRecord record;
    PrincipalPtr principal;
    PrincipalPtr signer;  // the same, of a signed request
    std::vector<IpNetwork> addresses;
  };
  using EntryPtr = std::shared_ptr<const Entry>;  // nullptr in the cache: no such key

  absl::StatusOr<EntryPtr> Look(std::string_view id);
  absl::StatusOr<EntryPtr> MakeEntry(store::KeyRecord record,
                                     const std::vector<std::string>& bound_roles) const;
  absl::StatusOr<PrincipalPtr> CheckSigned(const RequestSignature& signature,
                                           const Credentials& credentials);
  // Expiry, revocation and address of a key whose secret was good.
  absl::Status CheckInForce(const Entry& entry, std::string_view address);
  bool TakesSignatures() const;
  absl::StatusOr<Principal> MakePrincipal(const store::KeyRecord& record,
                                          const std::vector<std::string>& bound_roles) const;
  void NoteStore(const absl::Status& status);
  void Forget(std::string_view id);
  void Flush();  // the times of last use
  void Poll();

  const std::unique_ptr<store::KeyStore> store_;
  KeyServiceOptions options_;  // constant once constructed
  Clock& clock_;
  std::unordered_map<std::string, EntryPtr> declared_;  // constant once constructed

  std::shared_mutex cache_mutex_;
  std::unordered_map<std::string, EntryPtr> cache_;
  uint64_t cache_epoch_ = 0;  // moves when entries are forgotten

  mutable std::mutex store_mutex_;
  absl::Status store_status_;

  std::mutex used_mutex_;
  std::map<std::string, int64_t> used_;

  std::mutex maintain_mutex_;
  int64_t change_number_ = 0;
  SteadyTime last_flush_{};

  std::mutex stop_mutex_;
  std::condition_variable stop_changed_;
  bool stop_ = false;
  std::thread thread_;
};

}  // namespace weft::identity
