#include "libs/identity/key_service.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "libs/base/error_info.h"
#include "libs/base/status.h"
#include "libs/identity/api_key.h"

namespace weft::identity {
namespace {

constexpr std::string_view kBadKey = "Incorrect API key provided.";
constexpr std::string_view kBadSignature = "The request's signature is not good.";
constexpr size_t kMinSigningPepperBytes = 32;
constexpr size_t kMaxAddresses = 256;
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

const std::string& NoSalt() {
  static const std::string salt(16, '\0');
  return salt;
}

// The JSON lists of records.
std::string ToList(const std::vector<std::string>& texts) {
  return nlohmann::json(texts).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

// What cannot be read is a list of something that nothing matches.
std::vector<std::string> ParseTexts(const std::string& list) {
  const auto json = nlohmann::json::parse(list, nullptr, false);
  if (!json.is_array()) return {"!"};
  std::vector<std::string> texts;
  for (const auto& one : json) texts.push_back(one.is_string() ? one.get<std::string>() : "!");
  return texts;
}

bool IsIn(const std::vector<IpNetwork>& networks, std::string_view peer) {
  const auto address = IpAddress::ParsePeer(peer);
  return address && AnyContains(networks, *address);
}

store::KeyRecord ToRecord(const NewKey& key) {
  store::KeyRecord record;
  record.name = key.name;
  record.tenant = key.tenant;
  record.project = key.project;
  record.role = key.role;
  record.requests_per_minute = key.requests_per_minute;
  record.max_priority = key.max_priority;
  record.expires_at = key.expires_at;
  record.scopes = ToList(key.scopes);
  record.allowed_ips = ToList(key.addresses);
  record.allowed_models = ToList(key.models);
  return record;
}

void NewSecret(std::string_view pepper, std::string_view environment, int64_t now,
               CreatedKey& created) {
  ApiKeyText text = NewApiKey(environment);
  created.record.id = text.id;
  created.record.environment = environment;
  created.record.salt = NewSalt();
  created.record.secret_hash = HashApiKey(text.text, created.record.salt, pepper);
  created.record.created_at = now;
  created.text = std::move(text.text);
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
  if (!key.project.empty() && !IsTenantName(key.project)) {
    return WithField(InvalidArgument("project: must be 1 to 100 letters, digits, '.', '_' or '-'"),
                     "project");
  }
  if (const auto scopes = ParsePermissions(key.scopes); !scopes.ok()) {
    return WithField(Annotate(scopes.status(), "scopes"), "scopes");
  }
  if (key.addresses.size() > kMaxAddresses) {
    return WithField(InvalidArgument("allowed_ips: at most {} are taken", kMaxAddresses),
                     "allowed_ips");
  }
  if (const auto list = ParseNetworks(key.addresses); !list.ok()) {
    return WithField(Annotate(list.status(), "allowed_ips"), "allowed_ips");
  }
  if (absl::Status status = CheckModelPatterns(key.models); !status.ok()) {
    return WithField(std::move(status), "allowed_models");
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
    auto entry = MakeEntry(std::move(record), {});
    if (!entry.ok()) continue;  // ReadKeyFile has refused such records
    std::string id = (*entry)->record.id;
    declared_.emplace(std::move(id), *std::move(entry));
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

absl::StatusOr<CreatedKey> MakeKey(const NewKey& key, std::string_view pepper, int64_t now,
                                   std::string_view environment) {
  WEFT_RETURN_IF_ERROR(CheckNewKey(key, now));
  CreatedKey created{.record = ToRecord(key), .text = {}};
  NewSecret(pepper, environment, now, created);
  return created;
}

absl::StatusOr<Principal> KeyService::Preview(const NewKey& key) const {
  WEFT_RETURN_IF_ERROR(CheckKeyFields(key));
  WEFT_ASSIGN_OR_RETURN(const std::vector<std::string> roles, ParseRoles(key.role));
  for (const std::string& role : roles) {
    WEFT_ASSIGN_OR_RETURN(const RoleGrantPtr grant, options_.roles->Find(key.tenant, role));
    if (!grant) return WithField(InvalidArgument("role: there is no '{}'", role), "role");
  }
  return MakePrincipal(ToRecord(key), {});
}

absl::StatusOr<std::optional<store::KeyRecord>> KeyService::Find(std::string_view id) {
  WEFT_ASSIGN_OR_RETURN(const EntryPtr entry, Look(id));
  if (!entry) return std::optional<store::KeyRecord>();
  return std::optional<store::KeyRecord>(entry->record);
}

absl::StatusOr<PrincipalPtr> KeyService::PrincipalOf(std::string_view id) {
  WEFT_ASSIGN_OR_RETURN(const EntryPtr entry, Look(id));
  if (!entry) return NotFound("there is no key with the id '{}'", id);
  return entry->principal;
}

bool KeyService::TakesSignatures() const {
  return options_.nonces != nullptr && options_.pepper.size() >= kMinSigningPepperBytes;
}

absl::StatusOr<CreatedKey> KeyService::Create(const NewKey& key) {
  WEFT_RETURN_IF_ERROR(Preview(key).status());
  WEFT_ASSIGN_OR_RETURN(
      CreatedKey created,
      MakeKey(key, options_.pepper, UnixSeconds(clock_.Wall()), options_.environment));
  WEFT_RETURN_IF_ERROR(store_->Insert(created.record));
  Forget(created.record.id);  // somebody may have guessed the id before it was there
  if (TakesSignatures()) {
    created.signing_secret = SigningSecret(options_.pepper, created.record.id, created.record.salt);
  }
  return created;
}

absl::StatusOr<CreatedKey> KeyService::Rotate(std::string_view id, std::chrono::seconds overlap) {
  if (declared_.contains(std::string(id))) {
    return FailedPrecondition("key {} is declared in the keys file; put another one there", id);
  }
  WEFT_ASSIGN_OR_RETURN(const auto old, store_->Find(id));
  const int64_t now = UnixSeconds(clock_.Wall());
  if (!old) return NotFound("there is no key with the id '{}'", id);
  if (old->revoked_at != 0 || (old->expires_at != 0 && old->expires_at <= now)) {
    return FailedPrecondition("key {} has ended already", id);
  }
  CreatedKey created{.record = *old, .text = {}};
  created.record.last_used_at = 0;
  created.record.replaces = old->id;
  NewSecret(options_.pepper, options_.environment, now, created);
  WEFT_RETURN_IF_ERROR(store_->Insert(created.record));
  if (absl::Status status = store_->Expire(id, now + std::max<int64_t>(0, overlap.count()));
      !status.ok()) {
    // Whoever asked hears of no new key: it must not live on.
    store_->Revoke(created.record.id, now).IgnoreError();
    return status;
  }
  Forget(created.record.id);
  Forget(id);
  if (TakesSignatures()) {
    created.signing_secret = SigningSecret(options_.pepper, created.record.id, created.record.salt);
  }
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

absl::StatusOr<Principal> KeyService::MakePrincipal(
    const store::KeyRecord& record, const std::vector<std::string>& bound_roles) const {
  Principal principal;
  principal.key_id = record.id;
  principal.subject = "key:" + record.id;
  principal.name = record.name;
  principal.tenant = record.tenant;
  principal.requests_per_minute = record.requests_per_minute;
  auto roles = ParseRoles(record.role);
  if (!roles.ok()) return Internal("key {} has the roles '{}'", record.id, record.role);
  AddRoles(*roles, bound_roles);
  WEFT_RETURN_IF_ERROR(GrantRoles(*options_.roles, *std::move(roles), principal));
  if (const auto scopes = ParseTexts(record.scopes); !scopes.empty()) {
    // A scope that is not known any more permits nothing.
    PermissionSet kept;
    for (const std::string& scope : scopes) {
      const auto set = ParsePermissions(std::span(&scope, 1));
      if (set.ok()) kept = kept | *set;
    }
    principal.permissions = principal.permissions & kept;
  }
  principal.models.Restrict(ParseTexts(record.allowed_models));
  principal.project = record.project;
  if (!record.max_priority.empty()) {
    principal.max_priority = 0;
    if (!ParsePriority(record.max_priority, *principal.max_priority)) {
      return Internal("key {} has the unknown priority '{}'", record.id, record.max_priority);
    }
  }
  return principal;
}

absl::StatusOr<KeyService::EntryPtr> KeyService::MakeEntry(
    store::KeyRecord record, const std::vector<std::string>& bound_roles) const {
  auto entry = std::make_shared<Entry>();
  WEFT_ASSIGN_OR_RETURN(Principal principal, MakePrincipal(record, bound_roles));
  Principal signer = principal;
  signer.method = AuthMethod::kSignature;
  entry->principal = std::make_shared<const Principal>(std::move(principal));
  entry->signer = std::make_shared<const Principal>(std::move(signer));
  auto addresses = ParseNetworks(ParseTexts(record.allowed_ips));
  if (!addresses.ok()) return Internal("key {} has a bad list of addresses", record.id);
  entry->addresses = *std::move(addresses);
  entry->record = std::move(record);
  return EntryPtr(std::move(entry));
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
    std::vector<std::string> bound;
    if (options_.bound_roles) {
      WEFT_ASSIGN_OR_RETURN(bound, options_.bound_roles(*record));
    }
    WEFT_ASSIGN_OR_RETURN(entry, MakeEntry(*std::move(record), bound));
  }
  std::unique_lock lock(cache_mutex_);
  // What was read before a revocation must not enter the cache after it.
  if (epoch == cache_epoch_) {
    if (cache_.size() >= options_.cache_entries) cache_.clear();
    cache_[key] = entry;
  }
  return entry;
}

absl::Status KeyService::CheckInForce(const Entry& entry, std::string_view address) {
  const int64_t now = UnixSeconds(clock_.Wall());
  if (entry.record.revoked_at != 0) return Unauthenticated("This API key was revoked.");
  if (entry.record.expires_at != 0 && entry.record.expires_at <= now) {
    return Unauthenticated("This API key has expired.");
  }
  if (!entry.addresses.empty() && !IsIn(entry.addresses, address)) {
    return Unauthenticated("This API key may not be used from your address.");
  }
  if (entry.record.last_used_at + kTouchEverySeconds <= now) {
    std::lock_guard lock(used_mutex_);
    int64_t& at = used_[entry.record.id];
    at = std::max(at, now);
  }
  return absl::OkStatus();
}

absl::StatusOr<PrincipalPtr> KeyService::CheckSigned(const RequestSignature& signature,
                                                     const Credentials& credentials) {
  if (!TakesSignatures()) return Unauthenticated("Signed requests are not taken here.");
  if (!IsFresh(signature, clock_.Wall())) {
    return Unauthenticated("The request's timestamp is more than {} seconds off.",
                           kSignatureWindowSeconds);
  }
  WEFT_ASSIGN_OR_RETURN(const EntryPtr entry, Look(signature.key_id));
  // As for whole keys: an unknown id costs what a known one does.
  const std::string secret =
      SigningSecret(options_.pepper, signature.key_id, entry ? entry->record.salt : NoSalt());
  const bool head_good =
      signature.version == 1 ||
      VerifySignatureV2(signature, secret, credentials.method, credentials.target);
  if (!head_good || !entry) return Unauthenticated("{}", kBadSignature);
  if (!credentials.body) return NeedsBody();
  const bool good = signature.version == 2
                        ? MatchesBody(signature, *credentials.body)
                        : VerifySignatureV1(signature, secret, *credentials.body);
  if (!good) return Unauthenticated("{}", kBadSignature);
  WEFT_RETURN_IF_ERROR(CheckInForce(*entry, credentials.remote_address));
  // For twice the window: a timestamp may be as far ahead as behind.
  const std::string_view once = signature.version == 2 ? signature.nonce : signature.signature;
  WEFT_ASSIGN_OR_RETURN(
      const bool fresh,
      options_.nonces->Add(fmt::format("nonce:{}:{}", signature.key_id, once),
                           std::chrono::seconds(2 * kSignatureWindowSeconds + 1)));
  if (!fresh) return Unauthenticated("The request was sent before; sign each one anew.");
  return entry->signer;
}

absl::StatusOr<PrincipalPtr> KeyService::Authenticate(const Credentials& credentials) {
  const auto signature = ParseSignature(credentials.authorization, credentials.signing_key_id,
                                        credentials.timestamp, credentials.signature);
  if (!signature.ok()) {
    return Unauthenticated("The request's signature: {}", Message(signature.status()));
  }
  if (*signature) return CheckSigned(**signature, credentials);
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
  static const std::string kNoHash(32, '\0');
  const std::string hash = HashApiKey(text, entry ? entry->record.salt : NoSalt(), options_.pepper);
  if (!ConstantTimeEquals(hash, entry ? entry->record.secret_hash : kNoHash) || !entry) {
    return Unauthenticated("{}", kBadKey);
  }
  WEFT_RETURN_IF_ERROR(CheckInForce(*entry, credentials.remote_address));
  return entry->principal;
}

}  // namespace weft::identity
