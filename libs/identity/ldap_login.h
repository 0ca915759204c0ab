// People of a directory (LDAP v3, RFC 4511): found by name, checked by a bind, roles by group.
#pragma once

#include <absl/status/statusor.h>

#include <chrono>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "libs/base/clock.h"
#include "libs/identity/user.h"

struct ldap;

namespace weft::identity {

struct LdapOptions {
  std::vector<std::string> urls;  // ldap://, ldaps:// or ldapi://; the first that answers
  bool start_tls = false;         // before anything is sent; needed for ldap:// to other machines
  std::string ca_file = {};       // PEM; empty: the system's roots
  // Who looks people up; empty: nobody in particular.
  std::string bind_dn = {};
  std::string bind_password = {};
  std::string user_base;                         // below it people are
  std::string user_filter = "(uid={username})";  // {username} is what was typed, escaped
  std::string group_base = {};                   // empty: groups are in `member_of` of the person
  std::string group_filter = "(member={dn})";    // {dn} and {username}, escaped
  std::string member_of = "memberOf";
  std::map<std::string, std::string> roles = {};  // a group's DN, or its cn -> role
  std::string default_role = {};                  // in none of these groups; empty: refused
  std::string tenant = "default";                 // of all of them
  uint32_t requests_per_minute = 60;
  size_t connections = 4;  // kept for looking up
  std::chrono::milliseconds timeout{5'000};

  bool enabled() const { return !urls.empty(); }
  absl::Status Validate() const;
};

// What stands for itself in a filter (RFC 4515 section 3), whatever it holds.
std::string EscapeFilter(std::string_view text);

// Thread safe; blocks.
class LdapLogin final : public PasswordLogin {
 public:
  explicit LdapLogin(LdapOptions options) : options_(std::move(options)) {}
  ~LdapLogin() override;

  std::string_view source() const override { return "ldap"; }
  // UNAVAILABLE when no server answers, FAILED_PRECONDITION when looking up is not allowed.
  absl::StatusOr<std::optional<User>> Login(std::string_view tenant, std::string_view name,
                                            std::string_view password) override;

 private:
  struct Close {
    void operator()(ldap* connection) const;
  };
  using Connection = std::unique_ptr<ldap, Close>;
  struct Person {
    std::string dn;
    std::vector<std::string> groups;  // DNs
  };

  absl::StatusOr<Connection> Connect() const;
  absl::StatusOr<Connection> Open(const std::string& url) const;
  absl::Status Bind(ldap* connection, const std::string& dn, const std::string& password) const;
  absl::StatusOr<Connection> Take();
  void Give(Connection connection);
  absl::StatusOr<std::optional<Person>> Look(ldap* connection, std::string_view name) const;
  std::string RolesOf(const std::vector<std::string>& groups) const;

  const LdapOptions options_;
  std::mutex mutex_;
  std::vector<Connection> idle_;  // bound as bind_dn
};

}  // namespace weft::identity
