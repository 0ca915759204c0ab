// Numbers that move when something changed, so that caches of any process learn of it by one small
// read.
#pragma once

#include <absl/status/status.h>
#include <absl/status/statusor.h>

#include <cstdint>

#include "libs/store/database.h"

namespace weft::store {

enum class Topic : uint8_t {
  kKeys,
  kIdentity,  // users, roles, bindings, tenants
  kSettings,
  kQuotas,
};

// In the transaction that makes the change.
absl::Status NoteChange(Session& session, Topic topic);
absl::StatusOr<int64_t> ChangeNumber(Database& database, Topic topic);

}  // namespace weft::store
