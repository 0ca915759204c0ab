// The audit at rest: appending to the chains, reading, verifying, pruning. See audit_chain.h.
#pragma once

#include <absl/status/status.h>
#include <absl/status/statusor.h>

#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "libs/store/audit_chain.h"
#include "libs/store/database.h"

namespace weft::store {

// Appends in the session's transaction: what is done in it and its row are there both, or neither.
// seq, salt and hashes are set here. Rows of one call may be of several tenants. `again`: some may
// have been written before (an answer was lost); those, known by their id, are left out.
absl::Status AppendAudit(Session& session, std::vector<AuditRow> rows, std::string_view key,
                         bool again = false);

struct AuditFilter {
  std::string tenant;        // whose chain
  int64_t after_seq = 0;     // rows behind this one
  std::string user_id = {};  // empty: any, as the others
  std::string action = {};
  std::string resource_type = {};
  std::string resource_id = {};
  int64_t from_us = 0;
  int64_t until_us = 0;       // 0: now
  size_t limit = 100;         // at most 1000
  bool newest_first = false;  // then after_seq is before_seq, 0: from the end
};
// The session's scope must cover the tenant.
absl::StatusOr<std::vector<AuditRow>> ReadAudit(Session& session, const AuditFilter& filter);
absl::StatusOr<std::vector<AuditHead>> AuditHeads(Session& session);

struct AuditReport {
  AuditHead head;
  int64_t rows = 0;
  int64_t erased = 0;
  std::vector<std::string> faults;  // empty: whole
};
// Reads the whole chain in pieces. `seen`: rows that must still be there, with their hashes.
// NOT_FOUND: the tenant has no chain, and was not expected to have one.
absl::StatusOr<AuditReport> VerifyAudit(
    Database& database, std::string_view tenant, std::string_view key,
    const std::vector<std::pair<int64_t, std::string>>& seen = {});

// Takes the data of a person, who rows know by these names (user, key or resource), or everybody's
// (no names), out of a tenant's rows, and appends the row that says which. Returns how many. `by`
// is that row as AppendAudit takes it; its action and details are set here.
absl::StatusOr<int64_t> EraseAudit(Session& session, std::string_view tenant,
                                   const std::vector<std::string>& names, AuditRow by,
                                   std::string_view key);

// Removes rows older than `before_us`, and appends the row that says up to where. The last row
// stays. Returns how many went.
absl::StatusOr<int64_t> PruneAudit(Session& session, std::string_view tenant, int64_t before_us,
                                   AuditRow by, std::string_view key);

// One row as a JSON object in one line, hashes in hexadecimal, and back: exports can be verified
// without the database. INVALID_ARGUMENT names the member.
std::string AuditJson(const AuditRow& row);
absl::StatusOr<AuditRow> ParseAuditJson(std::string_view line);

}  // namespace weft::store
