#include "libs/identity/user.h"

#include <algorithm>

#include "libs/base/status.h"
#include "libs/identity/key_service.h"
#include "libs/identity/model_access.h"
#include "libs/identity/password.h"

namespace weft::identity {

bool IsUserName(std::string_view name) {
  return !name.empty() && name.size() <= 128 && std::none_of(name.begin(), name.end(), [](char c) {
    return static_cast<unsigned char>(c) < 0x20 || c == 0x7f;
  });
}

absl::StatusOr<std::shared_ptr<ListedUsers>> ListedUsers::Make(std::vector<User> users) {
  auto listed = std::make_shared<ListedUsers>();
  for (User& user : users) {
    if (!IsUserName(user.name)) return InvalidArgument("user '{}': no name", user.name);
    // A user is bound by what holds for keys.
    if (absl::Status status = CheckKeyFields({.name = "x",
                                              .tenant = user.tenant,
                                              .role = user.role,
                                              .requests_per_minute = user.requests_per_minute});
        !status.ok()) {
      return InvalidArgument("user '{}': {}", user.name, Message(status));
    }
    if (absl::Status status = CheckModelPatterns(user.models); !status.ok()) {
      return InvalidArgument("user '{}': {}", user.name, Message(status));
    }
    if (!user.password_hash.empty() && !IsPasswordHash(user.password_hash)) {
      return InvalidArgument("user '{}': password_hash: is none; `weftctl hash-password` makes one",
                             user.name);
    }
    std::pair key(user.tenant, user.name);
    if (!listed->users_.emplace(std::move(key), std::move(user)).second) {
      return InvalidArgument("user '{}': is there twice", user.name);
    }
  }
  return listed;
}

absl::StatusOr<std::optional<User>> ListedUsers::Find(std::string_view tenant,
                                                      std::string_view name) {
  const auto it = users_.find({std::string(tenant), std::string(name)});
  return it == users_.end() ? std::optional<User>() : std::optional<User>(it->second);
}

absl::StatusOr<std::optional<User>> DirectoryLogin::Login(std::string_view tenant,
                                                          std::string_view name,
                                                          std::string_view password) {
  WEFT_ASSIGN_OR_RETURN(std::optional<User> user, users_->Find(tenant, name));
  const bool good = VerifyPassword(password, user ? user->password_hash : std::string_view());
  if (!good || !user || user->disabled) return std::optional<User>();
  WEFT_RETURN_IF_ERROR(users_->NoteLogin(tenant, name));
  return user;
}

}  // namespace weft::identity
