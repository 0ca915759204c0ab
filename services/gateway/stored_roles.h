// Custom roles of tenants, out of the database, besides those of the program and its configuration.
#pragma once

#include <memory>

#include "libs/identity/role.h"
#include "libs/store/database.h"

namespace weft::gateway {

// Thread safe. Reads a row for a role that `first` does not know; who caches what comes of it
// forgets it when the store's keys change (a role that changes counts as such).
class StoredRoles final : public identity::RoleDirectory {
 public:
  StoredRoles(std::shared_ptr<store::Database> database,
              std::shared_ptr<const identity::RoleDirectory> first)
      : database_(std::move(database)), first_(std::move(first)) {}

  absl::StatusOr<identity::RoleGrantPtr> Find(std::string_view tenant,
                                              std::string_view role) const override;

 private:
  const std::shared_ptr<store::Database> database_;
  const std::shared_ptr<const identity::RoleDirectory> first_;
};

}  // namespace weft::gateway
