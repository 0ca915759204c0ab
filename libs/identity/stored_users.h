// Users of the database, besides those of the configuration.
#pragma once

#include <memory>

#include "libs/base/clock.h"
#include "libs/identity/user.h"
#include "libs/store/database.h"

namespace weft::identity {

// Thread safe. `first` is asked first; then the user's row and their role bindings are read.
class StoredUsers final : public UserDirectory {
 public:
  StoredUsers(std::shared_ptr<store::Database> database, std::shared_ptr<UserDirectory> first,
              Clock& clock = Clock::Real())
      : database_(std::move(database)), first_(std::move(first)), clock_(clock) {}
  absl::StatusOr<std::optional<User>> Find(std::string_view tenant, std::string_view name) override;
  absl::Status NoteLogin(std::string_view tenant, std::string_view name) override;

 private:
  const std::shared_ptr<store::Database> database_;
  const std::shared_ptr<UserDirectory> first_;
  Clock& clock_;
};

}  // namespace weft::identity
