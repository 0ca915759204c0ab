// Users of the database, besides those of the configuration.
#pragma once

#include <memory>

#include "libs/identity/user.h"
#include "libs/store/database.h"

namespace weft::identity {

// Thread safe. `first` is asked first; then one row is read.
class StoredUsers final : public UserDirectory {
 public:
  StoredUsers(std::shared_ptr<store::Database> database, std::shared_ptr<UserDirectory> first)
      : database_(std::move(database)), first_(std::move(first)) {}
  absl::StatusOr<std::optional<User>> Find(std::string_view tenant, std::string_view name) override;

 private:
  const std::shared_ptr<store::Database> database_;
  const std::shared_ptr<UserDirectory> first_;
};

}  // namespace weft::identity
