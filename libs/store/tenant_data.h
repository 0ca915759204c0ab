// What is stored of a tenant or a person: taking it out, and taking it away.
#pragma once

#include <absl/status/status.h>
#include <absl/status/statusor.h>

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "libs/store/audit_store.h"
#include "libs/store/database.h"
#include "libs/store/sealer.h"

namespace weft::store {

// Whose: a tenant, or one user of it by id.
struct DataOwner {
  std::string tenant;
  std::string user_id = {};  // of `users`; empty: the whole tenant
};

// Gives one JSON object a line to `line`: {"type": "users", …}; the audit's rows have the type
// "audit", usage's "usage" and prompts' "prompts" (opened with `secrets`; nullptr or without a
// master key: left out). Hashes of passwords and keys, and other sealed texts, are left out.
// Reads in pages, each in a transaction of its own. NOT_FOUND; stops at the first error of `line`.
absl::Status ExportData(Database& database, const DataOwner& owner,
                        const std::function<absl::Status(std::string_view line)>& line,
                        const SecretStore* secrets = nullptr);

struct Erased {
  int64_t rows = 0;        // that went
  int64_t audit_rows = 0;  // whose personal fields went; the rows stay (audit_chain.h)
};

// Takes everything away in one transaction, and appends the audit's row that says so (`by`). Of a
// tenant, its name stays, as erased, so that nobody gets it again, and its daily sums of usage
// without users and keys, for bills. Of a user, their keys, bindings and sealed texts go, and usage
// and audit lose who it was. NOT_FOUND.
absl::StatusOr<Erased> EraseData(Session& session, const DataOwner& owner, AuditRow by,
                                 std::string_view audit_key, int64_t now);

}  // namespace weft::store
