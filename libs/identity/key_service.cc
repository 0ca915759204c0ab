#include "libs/identity/key_service.h"

#include <algorithm>

#include "libs/base/error_info.h"
#include "libs/base/status.h"
#include "libs/identity/api_key.h"

namespace weft::identity {
namespace {

constexpr std::string_view kBadKey = "Incorrect API key provided.";
constexpr int64_t kTouchEverySeconds = 10;
constexpr std::chrono::seconds kFlushInterval{5};

bool IsPrintable(std::string_view text) {
  return std::none_of(text.begin(), text.end(),
                      [](char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7f; });
}

bool IsTenantName(std::string_view text) {
  return !text.empty() && text.size() <= 100 && std::all_of(text.begin(), text.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' ||
           c == '_' || c == '-';
  });
}

absl::Status CheckNewKey(const NewKey& key, int64_t now) {
  WEFT_RETURN_IF_ERROR(CheckKeyFields(key));
  if (key.expires_at != 0 && key.expires_at <= now) {
    return WithField(InvalidArgument("expires_at: must be in the future, or 0 for never"),
                     "expires_at");
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status CheckKeyFields(const NewKey& key) {
  if (key.name.empty() || key.name.size() > 100 || !IsPrintable(key.name)) {
    return WithField(InvalidArgument("name: must be 1 to 100 bytes without control characters"),
                     "name");
  }
  if (!IsTenantName(key.tenant)) {
    return WithField(InvalidArgument("tenant: must be 1 to 100 letters, digits, '.', '_' or '-'"),
                     "tenant");
  }
  if (const auto roles = ParseRoles(key.role); !roles.ok()) {
    return WithField(roles.status(), "role");
  }
  if (key.requests_per_minute < 1 || key.requests_per_minute > 1'000'000) {
    return WithField(InvalidArgument("requests_per_minute: must be 1 to 1000000, not {}",
                                     key.requests_per_minute),
                     "requests_per_minute");
  }
  int32_t priority = 0;
  if (!key.max_priority.empty() && !ParsePriority(key.max_priority, priority)) {
    return WithField(InvalidArgument("max_priority: must be 'low', 'normal' or 'high'"),
                     "max_priority");
  }
  return absl::OkStatus();
}

KeyService::KeyService(std::unique_ptr<store::KeyStore> store, KeyServiceOptions options,
                       Clock& clock)
    : store_(std::move(store)), options_(std::move(options)), clock_(clock) {
  for (store::KeyRecord& record : options_.declared) {
    auto principal = MakePrincipal(record);
    if (!principal.ok()) continue;  // ReadKeyFile has refused such roles
    auto entry = std::make_shared<Entry>();
    entry->principal = std::make_shared<const Principal>(*std::move(principal));
    entry->record = std::move(record);
    declared_.emplace(entry->record.id, std::move(entry));
  }
  options_.declared.clear();
  if (const auto number = store_->ChangeNumber(); number.ok()) change_number_ = *number;
  thread_ = std::thread([this] { Poll(); });
}

KeyService::~KeyService() {
  {
    std::lock_guard lock(stop_mutex_);
    stop_ = true;
  }
  stop_changed_.notify_all();
  thread_.join();
  Flush();
}

void KeyService::Poll() {
  std::unique_lock lock(stop_mutex_);
  while (!stop_changed_.wait_for(lock, options_.poll_interval, [this] { return stop_; })) {
    lock.unlock();
    Maintain();
    lock.lock();
  }
}

void KeyService::Maintain() {
  std::lock_guard lock(maintain_mutex_);
  if (clock_.Now() - last_flush_ >= kFlushInterval) {
    last_flush_ = clock_.Now();
    Flush();
  }
  const auto number = store_->ChangeNumber();
  if (!number.ok()) {
    NoteStore(number.status());
  } else if (!store_status().ok()) {
    NoteStore(store_->Find("").status());
  }
  // A store that cannot be read forgets too: a revoked key must not live on because of an error.
  if (number.ok() && *number == change_number_) return;
  if (number.ok()) change_number_ = *number;
  std::unique_lock cache_lock(cache_mutex_);
  cache_.clear();
  ++cache_epoch_;
}

void KeyService::Flush() {
  std::map<std::string, int64_t> used;
  {
    std::lock_guard lock(used_mutex_);
    used.swap(used_);
  }
  // A time of last use that cannot be written now is lost: it is information, not a promise.
  store_->Touch(used).IgnoreError();
}

absl::StatusOr<CreatedKey> MakeKey(const NewKey& key, std::string_view pepper, int64_t now) {
  WEFT_RETURN_IF_ERROR(CheckNewKey(key, now));
  ApiKeyText text = NewApiKey();
  CreatedKey created;
  created.record.id = text.id;
  created.record.name = key.name;
  created.record.tenant = key.tenant;
  created.record.role = key.role;
  created.record.salt = NewSalt();
  created.record.secret_hash = HashApiKey(text.text, created.record.salt, pepper);
  created.record.requests_per_minute = key.requests_per_minute;
  created.record.max_priority = key.max_priority;
  created.record.created_at = now;
  created.record.expires_at = key.expires_at;
  created.text = std::move(text.text);
  return created;
}

absl::StatusOr<Principal> KeyService::Preview(const NewKey& key) const {
  WEFT_RETURN_IF_ERROR(CheckKeyFields(key));
  WEFT_ASSIGN_OR_RETURN(const std::vector<std::string> roles, ParseRoles(key.role));
  for (const std::string& role : roles) {
    WEFT_ASSIGN_OR_RETURN(const RoleGrantPtr grant, options_.roles->Find(key.tenant, role));
    if (!grant) return WithField(InvalidArgument("role: there is no '{}'", role), "role");
  }
  store::KeyRecord record;
  record.name = key.name;
  record.tenant = key.tenant;
  record.role = key.role;
  return MakePrincipal(record);
}

absl::StatusOr<std::optional<store::KeyRecord>> KeyService::Find(std::string_view id) {
  WEFT_ASSIGN_OR_RETURN(const EntryPtr entry, Look(id));
  if (!entry) return std::optional<store::KeyRecord>();
  return std::optional<store::KeyRecord>(entry->record);
}

absl::StatusOr<CreatedKey> KeyService::Create(const NewKey& key) {
  WEFT_RETURN_IF_ERROR(Preview(key).status());
  WEFT_ASSIGN_OR_RETURN(CreatedKey created,
                        MakeKey(key, options_.pepper, UnixSeconds(clock_.Wall())));
  WEFT_RETURN_IF_ERROR(store_->Insert(created.record));
  Forget(created.record.id);  // somebody may have guessed the id before it was there
  return created;
}

absl::StatusOr<std::vector<store::KeyRecord>> KeyService::List(std::string_view tenant) {
  WEFT_ASSIGN_OR_RETURN(std::vector<store::KeyRecord> keys, store_->List(tenant));
  for (const auto& [id, entry] : declared_) {
    if (tenant.empty() || entry->record.tenant == tenant) keys.push_back(entry->record);
  }
  return keys;
}

absl::Status KeyService::Revoke(std::string_view id) {
  if (declared_.contains(std::string(id))) {
    return FailedPrecondition("key {} is declared in the keys file; take it out there", id);
  }
  WEFT_RETURN_IF_ERROR(store_->Revoke(id, UnixSeconds(clock_.Wall())));
  Forget(id);
  return absl::OkStatus();
}

void KeyService::Forget(std::string_view id) {
  std::unique_lock lock(cache_mutex_);
  cache_.erase(std::string(id));
  ++cache_epoch_;
}

void KeyService::NoteStore(const absl::Status& status) {
  std::lock_guard lock(store_mutex_);
  store_status_ = status;
}

absl::Status KeyService::store_status() const {
  std::lock_guard lock(store_mutex_);
  return store_status_;
}

absl::StatusOr<Principal> KeyService::MakePrincipal(const store::KeyRecord& record) const {
  Principal principal;
  principal.key_id = record.id;
  principal.subject = "key:" + record.id;
  principal.name = record.name;
  principal.tenant = record.tenant;
  principal.requests_per_minute = record.requests_per_minute;
  auto roles = ParseRoles(record.role);
  if (!roles.ok()) return Internal("key {} has the roles '{}'", record.id, record.role);
  WEFT_RETURN_IF_ERROR(GrantRoles(*options_.roles, *std::move(roles), principal));
  if (!record.max_priority.empty()) {
    principal.max_priority = 0;
    if (!ParsePriority(record.max_priority, *principal.max_priority)) {
      return Internal("key {} has the unknown priority '{}'", record.id, record.max_priority);
    }
  }
  return principal;
}

absl::StatusOr<KeyService::EntryPtr> KeyService::Look(std::string_view id) {
  const std::string key(id);
  if (const auto it = declared_.find(key); it != declared_.end()) return it->second;
  uint64_t epoch;
  {
    std::shared_lock lock(cache_mutex_);
    if (const auto it = cache_.find(key); it != cache_.end()) return it->second;
    epoch = cache_epoch_;
  }
  auto found = store_->Find(id);
  NoteStore(found.status());
  WEFT_ASSIGN_OR_RETURN(std::optional<store::KeyRecord> record, std::move(found));
  EntryPtr entry;
  if (record) {
    auto made = std::make_shared<Entry>();
    WEFT_ASSIGN_OR_RETURN(Principal principal, MakePrincipal(*record));
    made->principal = std::make_shared<const Principal>(std::move(principal));
    made->record = std::move(*record);
    entry = std::move(made);
  }
  std::unique_lock lock(cache_mutex_);
  // What was read before a revocation must not enter the cache after it.
  if (epoch == cache_epoch_) {
    if (cache_.size() >= options_.cache_entries) cache_.clear();
    cache_[key] = entry;
  }
  return entry;
}

absl::StatusOr<PrincipalPtr> KeyService::Authenticate(const Credentials& credentials) {
  std::string_view text = credentials.api_key;
  if (!credentials.authorization.empty()) {
    text = BearerToken(credentials.authorization);
    if (text.empty()) return PrincipalPtr();  // another scheme
    if (!credentials.api_key.empty() && credentials.api_key != text) {
      return Unauthenticated("Authorization and X-API-Key carry different keys.");
    }
  }
  if (text.empty()) return PrincipalPtr();
  const auto id = ApiKeyId(text);
  if (!id) return Unauthenticated("{}", kBadKey);
  WEFT_ASSIGN_OR_RETURN(const EntryPtr entry, Look(*id));
  // A hash is computed for unknown ids too: the time does not tell whether an id exists.
  static const std::string kNoSalt(16, '\0');
  static const std::string kNoHash(32, '\0');
  const std::string hash = HashApiKey(text, entry ? entry->record.salt : kNoSalt, options_.pepper);
  if (!ConstantTimeEquals(hash, entry ? entry->record.secret_hash : kNoHash) || !entry) {
    return Unauthenticated("{}", kBadKey);
  }
  const int64_t now = UnixSeconds(clock_.Wall());
  if (entry->record.revoked_at != 0) return Unauthenticated("This API key was revoked.");
  if (entry->record.expires_at != 0 && entry->record.expires_at <= now) {
    return Unauthenticated("This API key has expired.");
  }
  if (entry->record.last_used_at + kTouchEverySeconds <= now) {
    std::lock_guard lock(used_mutex_);
    int64_t& at = used_[entry->record.id];
    at = std::max(at, now);
  }
  return entry->principal;
}

}  // namespace weft::identity
