#include "libs/identity/ldap_login.h"

#include <ldap.h>
#include <sys/time.h>

#include <algorithm>

#include "libs/base/status.h"
#include "libs/identity/key_service.h"
#include "libs/identity/role.h"

namespace weft::identity {
namespace {

constexpr int kMaxEntries = 256;  // of an answer

struct FreeMessage {
  void operator()(LDAPMessage* message) const { ldap_msgfree(message); }
};
using Message = std::unique_ptr<LDAPMessage, FreeMessage>;

absl::Status ToStatus(int code, std::string_view what) {
  switch (code) {
    case LDAP_SUCCESS:
      return absl::OkStatus();
    case LDAP_INVALID_CREDENTIALS:
      return Unauthenticated("{}: the directory refuses the credentials", what);
    case LDAP_INSUFFICIENT_ACCESS:
    case LDAP_INAPPROPRIATE_AUTH:
    case LDAP_CONFIDENTIALITY_REQUIRED:
    case LDAP_STRONG_AUTH_REQUIRED:
    case LDAP_NO_SUCH_OBJECT:
      return FailedPrecondition("{}: {}", what, ldap_err2string(code));
    default:
      return Unavailable("{}: {}", what, ldap_err2string(code));
  }
}

std::string Replaced(std::string_view text, std::string_view what, std::string_view with) {
  std::string out;
  while (true) {
    const size_t at = text.find(what);
    out.append(text.substr(0, at));
    if (at == std::string_view::npos) return out;
    out.append(with);
    text.remove_prefix(at + what.size());
  }
}

std::string Lower(std::string_view text) {
  std::string lower(text);
  for (char& c : lower) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  return lower;
}

// The value of the first part of a DN when it is a cn: "cn=devs,ou=groups" gives "devs".
std::string CommonName(const std::string& dn) {
  const std::string lower = Lower(dn);
  if (!lower.starts_with("cn=")) return {};
  return dn.substr(3, dn.find(',') - 3);
}

std::string DnOf(LDAP* connection, LDAPMessage* entry) {
  char* text = ldap_get_dn(connection, entry);
  if (text == nullptr) return {};
  std::string dn(text);
  ldap_memfree(text);
  return dn;
}

std::vector<std::string> Values(LDAP* connection, LDAPMessage* entry, const std::string& name) {
  std::vector<std::string> out;
  berval** values = ldap_get_values_len(connection, entry, name.c_str());
  for (berval** value = values; value != nullptr && *value != nullptr; ++value) {
    out.emplace_back((*value)->bv_val, (*value)->bv_len);
  }
  ldap_value_free_len(values);
  return out;
}

absl::StatusOr<Message> Search(LDAP* connection, const std::string& base, const std::string& filter,
                               const std::string& attribute, std::chrono::milliseconds timeout) {
  std::string wanted = attribute.empty() ? std::string(LDAP_NO_ATTRS) : attribute;
  char* attributes[] = {wanted.data(), nullptr};
  timeval wait{timeout.count() / 1000, timeout.count() % 1000 * 1000};
  LDAPMessage* message = nullptr;
  const int code = ldap_search_ext_s(connection, base.c_str(), LDAP_SCOPE_SUBTREE, filter.c_str(),
                                     attributes, 0, nullptr, nullptr, &wait, kMaxEntries, &message);
  Message owned(message);
  WEFT_RETURN_IF_ERROR(ToStatus(code, "a search in the directory"));
  return owned;
}

}  // namespace

absl::Status LdapOptions::Validate() const {
  if (!enabled()) return absl::OkStatus();
  for (const std::string& url : urls) {
    if (ldap_is_ldap_url(url.c_str()) == 0)
      return InvalidArgument("urls: '{}' is no LDAP URL", url);
    const bool local = url.starts_with("ldap://127.0.0.1") || url.starts_with("ldap://localhost") ||
                       url.starts_with("ldap://[::1]");
    if (url.starts_with("ldap://") && !start_tls && !local) {
      return InvalidArgument("start_tls: is needed for {}: passwords would cross the network", url);
    }
  }
  if (user_base.empty()) return InvalidArgument("user_base: is missing");
  if (user_filter.find("{username}") == std::string::npos) {
    return InvalidArgument("user_filter: must hold {{username}}");
  }
  for (const auto& [group, role] : roles) {
    if (!ParseRoles(role).ok()) return InvalidArgument("roles: '{}' is no role", role);
  }
  return CheckKeyFields({.name = "x",
                         .tenant = tenant,
                         .role = default_role.empty() ? "viewer" : default_role,
                         .requests_per_minute = requests_per_minute});
}

std::string EscapeFilter(std::string_view text) {
  std::string out;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte < 0x20 || byte >= 0x7f || c == '*' || c == '(' || c == ')' || c == '\\') {
      out += fmt::format("\\{:02x}", byte);
    } else {
      out.push_back(c);
    }
  }
  return out;
}

void LdapLogin::Close::operator()(ldap* connection) const {
  ldap_unbind_ext_s(connection, nullptr, nullptr);
}

LdapLogin::~LdapLogin() = default;

absl::StatusOr<LdapLogin::Connection> LdapLogin::Open(const std::string& url) const {
  LDAP* raw = nullptr;
  if (ldap_initialize(&raw, url.c_str()) != LDAP_SUCCESS) return Unavailable("{}: no memory", url);
  Connection connection(raw);
  const int version = LDAP_VERSION3;
  const timeval wait{options_.timeout.count() / 1000, options_.timeout.count() % 1000 * 1000};
  const int demand = LDAP_OPT_X_TLS_DEMAND;
  const int server_context = 0;
  ldap_set_option(raw, LDAP_OPT_PROTOCOL_VERSION, &version);
  ldap_set_option(raw, LDAP_OPT_NETWORK_TIMEOUT, &wait);
  ldap_set_option(raw, LDAP_OPT_TIMEOUT, &wait);
  ldap_set_option(raw, LDAP_OPT_REFERRALS, LDAP_OPT_OFF);  // else credentials follow them
  ldap_set_option(raw, LDAP_OPT_X_TLS_REQUIRE_CERT, &demand);
  if (!options_.ca_file.empty()) {
    ldap_set_option(raw, LDAP_OPT_X_TLS_CACERTFILE, options_.ca_file.c_str());
  }
  ldap_set_option(raw, LDAP_OPT_X_TLS_NEWCTX, &server_context);
  if (options_.start_tls && !url.starts_with("ldaps://")) {
    WEFT_RETURN_IF_ERROR(ToStatus(ldap_start_tls_s(raw, nullptr, nullptr), "StartTLS with " + url));
  }
  return connection;
}

absl::StatusOr<LdapLogin::Connection> LdapLogin::Connect() const {
  absl::Status last = Unavailable("no directory is configured");
  for (const std::string& url : options_.urls) {
    auto connection = Open(url);
    if (!connection.ok()) {
      last = connection.status();
      continue;
    }
    last = Bind(connection->get(), options_.bind_dn, options_.bind_password);
    if (last.ok()) return connection;
    if (last.code() == absl::StatusCode::kUnauthenticated) {
      last = FailedPrecondition("{}: refuses bind_dn's credentials", url);
    }
  }
  return last;
}

absl::Status LdapLogin::Bind(ldap* connection, const std::string& dn,
                             const std::string& password) const {
  std::string copy = password;
  berval credentials{copy.size(), copy.data()};
  const int code = ldap_sasl_bind_s(connection, dn.c_str(), LDAP_SASL_SIMPLE, &credentials, nullptr,
                                    nullptr, nullptr);
  return ToStatus(code, "a bind to the directory");
}

absl::StatusOr<LdapLogin::Connection> LdapLogin::Take() {
  {
    std::lock_guard lock(mutex_);
    if (!idle_.empty()) {
      Connection connection = std::move(idle_.back());
      idle_.pop_back();
      return connection;
    }
  }
  return Connect();
}

void LdapLogin::Give(Connection connection) {
  std::lock_guard lock(mutex_);
  if (idle_.size() < options_.connections) idle_.push_back(std::move(connection));
}

absl::StatusOr<std::optional<LdapLogin::Person>> LdapLogin::Look(ldap* connection,
                                                                 std::string_view name) const {
  std::string filter = Replaced(options_.user_filter, "{username}", EscapeFilter(name));
  WEFT_ASSIGN_OR_RETURN(const Message found, Search(connection, options_.user_base, filter,
                                                    options_.member_of, options_.timeout));
  // Two people of one name: which one it is cannot be known.
  if (ldap_count_entries(connection, found.get()) != 1) return std::optional<Person>();
  LDAPMessage* entry = ldap_first_entry(connection, found.get());
  Person person;
  person.dn = DnOf(connection, entry);
  if (person.dn.empty()) return std::optional<Person>();
  if (options_.group_base.empty()) {
    person.groups = Values(connection, entry, options_.member_of);
    return std::optional<Person>(std::move(person));
  }
  // What is put in is escaped.
  filter = Replaced(options_.group_filter, "{dn}", EscapeFilter(person.dn));
  if (options_.group_filter.find("{username}") != std::string::npos) {
    filter = Replaced(filter, "{username}", EscapeFilter(name));
  }
  WEFT_ASSIGN_OR_RETURN(const Message groups,
                        Search(connection, options_.group_base, filter, "", options_.timeout));
  for (LDAPMessage* group = ldap_first_entry(connection, groups.get()); group != nullptr;
       group = ldap_next_entry(connection, group)) {
    person.groups.push_back(DnOf(connection, group));
  }
  return std::optional<Person>(std::move(person));
}

std::string LdapLogin::RolesOf(const std::vector<std::string>& groups) const {
  std::vector<std::string> roles;
  for (const auto& [name, role] : options_.roles) {
    const std::string wanted = Lower(name);
    const bool member = std::any_of(groups.begin(), groups.end(), [&](const std::string& dn) {
      return Lower(dn) == wanted || Lower(CommonName(dn)) == wanted;
    });
    if (member && std::find(roles.begin(), roles.end(), role) == roles.end()) roles.push_back(role);
  }
  return roles.empty() ? options_.default_role : JoinRoles(roles);
}

absl::StatusOr<std::optional<User>> LdapLogin::Login(std::string_view tenant, std::string_view name,
                                                     std::string_view password) {
  // A bind with a name and no password succeeds as nobody (RFC 4513 section 5.1.2).
  if (password.empty() || tenant != options_.tenant || !IsUserName(name)) {
    return std::optional<User>();
  }
  WEFT_ASSIGN_OR_RETURN(Connection connection, Take());
  auto person = Look(connection.get(), name);
  if (!person.ok() && person.status().code() == absl::StatusCode::kUnavailable) {
    // A connection that was kept may have been closed by the server.
    WEFT_ASSIGN_OR_RETURN(connection, Connect());
    person = Look(connection.get(), name);
  }
  WEFT_RETURN_IF_ERROR(person.status());
  Give(std::move(connection));
  if (!*person) return std::optional<User>();
  // On a connection of its own: one that is bound as a person is not used for looking up.
  absl::Status bound = Unavailable("no directory answers");
  for (const std::string& url : options_.urls) {
    auto own = Open(url);
    bound = own.ok() ? Bind(own->get(), (*person)->dn, std::string(password)) : own.status();
    if (bound.code() != absl::StatusCode::kUnavailable) break;
  }
  if (bound.code() == absl::StatusCode::kUnauthenticated) return std::optional<User>();
  WEFT_RETURN_IF_ERROR(bound);
  User user;
  user.name = std::string(name);
  user.tenant = options_.tenant;
  user.role = RolesOf((*person)->groups);
  user.requests_per_minute = options_.requests_per_minute;
  if (user.role.empty()) return std::optional<User>();
  return std::optional<User>(std::move(user));
}

}  // namespace weft::identity
