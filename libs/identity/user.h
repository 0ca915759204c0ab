// People who sign in with a name and a password.
#pragma once

#include <absl/status/statusor.h>

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace weft::identity {

struct User {
  std::string name;
  std::string tenant = "default";
  std::string project = {};
  std::string role = "developer";             // as an API key's: one or several names
  std::vector<std::string> bound_roles = {};  // others besides, that were bound to them
  std::vector<std::string> models = {};
  std::string password_hash = {};  // password.h; empty: no sign-in with a password here
  uint32_t requests_per_minute = 60;
  bool disabled = false;
  int64_t tokens_from = 0;  // Unix seconds: tokens issued before are not good any more
};

// Users at rest. Thread safe; reads one row, blocks for nothing longer.
class UserDirectory {
 public:
  virtual ~UserDirectory() = default;
  virtual absl::StatusOr<std::optional<User>> Find(std::string_view tenant,
                                                   std::string_view name) = 0;
  // They came in with their password just now. Kept where there is a place for it.
  virtual absl::Status NoteLogin(std::string_view tenant, std::string_view name) {
    static_cast<void>(tenant);
    static_cast<void>(name);
    return absl::OkStatus();
  }
};

// Users of the configuration.
class ListedUsers final : public UserDirectory {
 public:
  // INVALID_ARGUMENT names a user that is there twice, or whose name, tenant, roles or hash are not
  // good.
  static absl::StatusOr<std::shared_ptr<ListedUsers>> Make(std::vector<User> users);
  absl::StatusOr<std::optional<User>> Find(std::string_view tenant, std::string_view name) override;

 private:
  std::map<std::pair<std::string, std::string>, User> users_;
};

// 1 to 128 bytes without control characters, as names of people and mail addresses are.
bool IsUserName(std::string_view name);

// Checks a password. Thread safe; blocks.
class PasswordLogin {
 public:
  virtual ~PasswordLogin() = default;
  virtual std::string_view source() const = 0;  // goes into tokens: "local", "ldap"
  // nullopt: no such user, disabled, or another password; which one it was is not told, not even by
  // the time that it takes. An error: the directory is away.
  virtual absl::StatusOr<std::optional<User>> Login(std::string_view tenant, std::string_view name,
                                                    std::string_view password) = 0;
};

inline constexpr std::string_view kLocalSource = "local";

// Against the hashes of a directory.
class DirectoryLogin final : public PasswordLogin {
 public:
  explicit DirectoryLogin(std::shared_ptr<UserDirectory> users) : users_(std::move(users)) {}
  std::string_view source() const override { return kLocalSource; }
  absl::StatusOr<std::optional<User>> Login(std::string_view tenant, std::string_view name,
                                            std::string_view password) override;

 private:
  const std::shared_ptr<UserDirectory> users_;
};

}  // namespace weft::identity
