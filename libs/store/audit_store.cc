#include "libs/store/audit_store.h"

#include <algorithm>
#include <array>
#include <map>
#include <set>

#include "libs/base/ids.h"
#include "libs/base/status.h"
#include "libs/store/text.h"

namespace weft::store {
namespace {

constexpr std::string_view kColumns =
    "tenant_id, seq, id, created_at_us, user_id, key_id, auth_method, action, resource_type, "
    "resource_id, outcome, request_id, details, ip_address, user_agent, salt, personal_hash, hash, "
    "erased";
constexpr size_t kColumnCount = 19;
constexpr size_t kRowsPerInsert = 32;
constexpr size_t kPage = 1000;

AuditRow ReadRow(const Row& r) {
  AuditRow row;
  row.tenant = r.Text(0);
  row.seq = r.Int(1);
  row.id = r.Text(2);
  row.at_us = r.Int(3);
  row.user_id = r.Text(4);
  row.key_id = r.Text(5);
  row.auth_method = r.Text(6);
  row.action = r.Text(7);
  row.resource_type = r.Text(8);
  row.resource_id = r.Text(9);
  row.outcome = r.Text(10);
  row.request_id = r.Text(11);
  row.details = r.Text(12);
  row.ip_address = r.Text(13);
  row.user_agent = r.Text(14);
  row.salt = r.Text(15);
  row.personal_hash = r.Text(16);
  row.hash = r.Text(17);
  row.erased = r.Int(18) != 0;
  return row;
}

// "($1, $2), ($3, $4)" for a number of rows.
std::string Places(size_t rows, size_t columns) {
  std::string out;
  size_t n = 0;
  for (size_t row = 0; row < rows; ++row) {
    out += row == 0 ? "(" : ", (";
    for (size_t column = 0; column < columns; ++column) {
      out += fmt::format("{}${}", column == 0 ? "" : ", ", ++n);
    }
    out += ")";
  }
  return out;
}

absl::Status InsertRows(Session& session, std::span<const AuditRow> rows) {
  Values values;
  values.reserve(rows.size() * kColumnCount);
  for (const AuditRow& row : rows) {
    for (Value& value : std::array<Value, kColumnCount>{
             row.tenant, row.seq, row.id, row.at_us, row.user_id, row.key_id, row.auth_method,
             row.action, row.resource_type, row.resource_id, row.outcome, row.request_id,
             row.details, row.ip_address, row.user_agent, Value::Blob(row.salt),
             Value::Blob(row.personal_hash), Value::Blob(row.hash), row.erased}) {
      values.push_back(std::move(value));
    }
  }
  return session
      .Run(fmt::format("INSERT INTO audit_logs ({}) VALUES {}", kColumns,
                       Places(rows.size(), kColumnCount)),
           values)
      .status();
}

void Complete(AuditRow& row) {
  row.salt.resize(16);
  RandomBytes({reinterpret_cast<uint8_t*>(row.salt.data()), row.salt.size()});
  if (row.id.empty()) row.id = NewRequestId();
  if (row.details.empty()) row.details = "{}";
  for (std::string* text : {&row.user_id, &row.key_id, &row.resource_id, &row.ip_address,
                            &row.user_agent, &row.request_id}) {
    *text = StorableText(*text, 1024);
  }
  row.details = StorableText(row.details, 65'536);
  row.erased = false;
}

absl::Status AppendToChain(Session& session, const std::string& tenant, std::vector<AuditRow>& rows,
                           std::string_view key, bool again) {
  const std::string zero = AuditZeroHash();
  WEFT_RETURN_IF_ERROR(session
                           .Run("INSERT INTO audit_heads (tenant_id, seq, hash, first_seq, "
                                "first_hash) VALUES ($1, 0, $2, 1, $2) "
                                "ON CONFLICT (tenant_id) DO NOTHING",
                                {tenant, Value::Blob(zero)})
                           .status());
  // Takes the head's row until the end of the transaction: writers of one chain stand in line.
  WEFT_ASSIGN_OR_RETURN(const Result head,
                        session.Run("UPDATE audit_heads SET seq = seq WHERE tenant_id = $1 "
                                    "RETURNING seq, hash",
                                    {tenant}));
  if (head.rows.empty()) return DataLoss("audit_heads has no row for tenant '{}'", tenant);
  if (again) {
    std::set<std::string> there;
    for (size_t i = 0; i < rows.size(); i += kRowsPerInsert) {
      Values ids;
      std::string places;
      for (size_t k = i; k < std::min(rows.size(), i + kRowsPerInsert); ++k) {
        ids.emplace_back(rows[k].id);
        places += fmt::format("{}${}", places.empty() ? "" : ", ", ids.size());
      }
      WEFT_ASSIGN_OR_RETURN(
          const Result found,
          session.Run(fmt::format("SELECT id FROM audit_logs WHERE id IN ({})", places), ids));
      for (const Row& row : found.rows) there.insert(row.Text(0));
    }
    std::erase_if(rows, [&](const AuditRow& row) { return there.contains(row.id); });
  }
  if (rows.empty()) return absl::OkStatus();
  int64_t seq = head.rows[0].Int(0);
  std::string before = head.rows[0].Text(1);
  for (AuditRow& row : rows) {
    row.seq = ++seq;
    row.personal_hash = AuditPersonalHash(row);
    row.hash = AuditRowHash(row, before, key);
    before = row.hash;
  }
  for (size_t i = 0; i < rows.size(); i += kRowsPerInsert) {
    const size_t count = std::min(kRowsPerInsert, rows.size() - i);
    WEFT_RETURN_IF_ERROR(InsertRows(session, std::span<const AuditRow>(rows).subspan(i, count)));
  }
  return session
      .Run("UPDATE audit_heads SET seq = $2, hash = $3 WHERE tenant_id = $1",
           {tenant, seq, Value::Blob(before)})
      .status();
}

AuditHead ReadHead(const Row& r) { return {r.Text(0), r.Int(1), r.Text(2), r.Int(3), r.Text(4)}; }

// While it stands, rows may change and go; gone before the transaction ends.
absl::Status WithUpkeep(Session& session, std::string_view reason,
                        const std::function<absl::Status()>& work) {
  WEFT_RETURN_IF_ERROR(
      session.Run("INSERT INTO audit_upkeep (reason) VALUES ($1)", {reason}).status());
  WEFT_RETURN_IF_ERROR(work());
  return session.Run("DELETE FROM audit_upkeep WHERE reason = $1", {reason}).status();
}

}  // namespace

absl::Status AppendAudit(Session& session, std::vector<AuditRow> rows, std::string_view key,
                         bool again) {
  std::map<std::string, std::vector<AuditRow>> chains;  // in order: two writers do not deadlock
  for (AuditRow& row : rows) {
    Complete(row);
    chains[row.tenant].push_back(std::move(row));
  }
  for (auto& [tenant, of_tenant] : chains) {
    WEFT_RETURN_IF_ERROR(AppendToChain(session, tenant, of_tenant, key, again));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::vector<AuditRow>> ReadAudit(Session& session, const AuditFilter& filter) {
  if (!session.scope().Covers(filter.tenant)) {
    return PermissionDenied("the audit of another tenant");
  }
  std::string where = "tenant_id = $1";
  Values values = {filter.tenant};
  const auto add = [&](std::string_view condition, Value value) {
    values.push_back(std::move(value));
    where += fmt::format(" AND {} ${}", condition, values.size());
  };
  if (filter.after_seq != 0) add(filter.newest_first ? "seq <" : "seq >", filter.after_seq);
  if (!filter.user_id.empty()) add("user_id =", filter.user_id);
  if (!filter.action.empty()) add("action =", filter.action);
  if (!filter.resource_type.empty()) add("resource_type =", filter.resource_type);
  if (!filter.resource_id.empty()) add("resource_id =", filter.resource_id);
  if (filter.from_us != 0) add("created_at_us >=", filter.from_us);
  if (filter.until_us != 0) add("created_at_us <", filter.until_us);
  values.emplace_back(static_cast<int64_t>(std::clamp<size_t>(filter.limit, 1, kPage)));
  WEFT_ASSIGN_OR_RETURN(
      const Result result,
      session.Run(fmt::format("SELECT {} FROM audit_logs WHERE {} ORDER BY seq{} LIMIT ${}",
                              kColumns, where, filter.newest_first ? " DESC" : "", values.size()),
                  values));
  std::vector<AuditRow> rows;
  rows.reserve(result.rows.size());
  for (const Row& row : result.rows) rows.push_back(ReadRow(row));
  return rows;
}

absl::StatusOr<std::vector<AuditHead>> AuditHeads(Session& session) {
  WEFT_ASSIGN_OR_RETURN(
      const Result result,
      session.Run(fmt::format("SELECT tenant_id, seq, hash, first_seq, first_hash FROM audit_heads "
                              "WHERE {} ORDER BY tenant_id",
                              session.scope().system() ? "TRUE" : "tenant_id = $1"),
                  {session.scope().tenant()}));
  std::vector<AuditHead> heads;
  for (const Row& row : result.rows) heads.push_back(ReadHead(row));
  return heads;
}

absl::StatusOr<AuditReport> VerifyAudit(Database& database, std::string_view tenant,
                                        std::string_view key,
                                        const std::vector<std::pair<int64_t, std::string>>& seen) {
  const Scope scope = tenant.empty() ? Scope::System() : Scope::Tenant(tenant);
  AuditReport report;
  report.head = {std::string(tenant), 0, AuditZeroHash(), 1, AuditZeroHash()};
  // The head is read first: rows that come meanwhile are behind it, and not looked at.
  WEFT_ASSIGN_OR_RETURN(
      const Result head,
      database.ReadOne(scope,
                       "SELECT tenant_id, seq, hash, first_seq, first_hash FROM audit_heads "
                       "WHERE tenant_id = $1",
                       {tenant}));
  if (!head.rows.empty()) report.head = ReadHead(head.rows[0]);
  AuditVerifier verifier(report.head, std::string(key));
  for (const auto& [seq, hash] : seen) verifier.Expect(seq, hash);
  AuditFilter filter{.tenant = std::string(tenant), .limit = kPage};
  while (true) {
    std::vector<AuditRow> rows;
    WEFT_RETURN_IF_ERROR(database.Read(scope, [&](Session& session) -> absl::Status {
      WEFT_ASSIGN_OR_RETURN(rows, ReadAudit(session, filter));
      return absl::OkStatus();
    }));
    for (const AuditRow& row : rows) {
      if (row.seq <= report.head.seq || head.rows.empty()) verifier.Feed(row);
    }
    if (rows.size() < kPage || rows.back().seq >= report.head.seq) break;
    filter.after_seq = rows.back().seq;
  }
  report.rows = verifier.rows();
  report.erased = verifier.erased();
  report.faults = verifier.Finish();
  if (head.rows.empty() && report.rows == 0 && report.faults.empty()) {
    return NotFound("the audit has no rows of tenant '{}'", tenant);
  }
  return report;
}

absl::StatusOr<int64_t> EraseAudit(Session& session, std::string_view tenant,
                                   const std::vector<std::string>& names, AuditRow by,
                                   std::string_view key) {
  std::vector<int64_t> taken;
  Values values = {tenant, Value::Blob(""), kAuditErase, kAuditPrune};
  std::string places;
  for (const std::string& name : names) {
    values.emplace_back(name);
    places += fmt::format("{}${}", places.empty() ? "" : ", ", values.size());
  }
  const std::string whose =
      places.empty()
          ? ""
          : fmt::format("AND (user_id IN ({0}) OR key_id IN ({0}) OR resource_id IN ({0}))",
                        places);
  WEFT_RETURN_IF_ERROR(WithUpkeep(session, "erase", [&]() -> absl::Status {
    WEFT_ASSIGN_OR_RETURN(
        const Result result,
        session.Run(
            fmt::format("UPDATE audit_logs SET user_id = '', key_id = '', resource_id = '', "
                        "details = '{{}}', ip_address = '', user_agent = '', salt = $2, erased = 1 "
                        "WHERE tenant_id = $1 AND erased = 0 AND action <> $3 AND action <> $4 {} "
                        "RETURNING seq",
                        whose),
            values));
    for (const Row& row : result.rows) taken.push_back(row.Int(0));
    return absl::OkStatus();
  }));
  std::sort(taken.begin(), taken.end());
  by.tenant = tenant;
  by.action = kAuditErase;
  by.details = "{\"rows\":[";
  for (size_t i = 0; i < taken.size(); ++i) {
    by.details += fmt::format("{}{}", i == 0 ? "" : ",", taken[i]);
  }
  by.details += "]}";
  const size_t size = by.details.size();
  if (size > 65'536) {  // in several rows, each as long as a row may be
    std::vector<AuditRow> several;
    for (size_t i = 0; i < taken.size(); i += 5000) {
      AuditRow part = by;
      part.id.clear();
      part.details = "{\"rows\":[";
      for (size_t k = i; k < std::min(taken.size(), i + 5000); ++k) {
        part.details += fmt::format("{}{}", k == i ? "" : ",", taken[k]);
      }
      part.details += "]}";
      several.push_back(std::move(part));
    }
    WEFT_RETURN_IF_ERROR(AppendAudit(session, std::move(several), key));
  } else {
    WEFT_RETURN_IF_ERROR(AppendAudit(session, {std::move(by)}, key));
  }
  return static_cast<int64_t>(taken.size());
}

absl::StatusOr<int64_t> PruneAudit(Session& session, std::string_view tenant, int64_t before_us,
                                   AuditRow by, std::string_view key) {
  // The prune row must be in the chain before the rows go: it is what says that they went.
  WEFT_ASSIGN_OR_RETURN(
      const Result kept,
      session.Run("SELECT COALESCE((SELECT MIN(seq) FROM audit_logs WHERE tenant_id = $1 AND "
                  "created_at_us >= $2), (SELECT MAX(seq) FROM audit_logs WHERE tenant_id = $1))",
                  {tenant, before_us}));
  WEFT_ASSIGN_OR_RETURN(
      const Result last,
      session.Run("SELECT seq, hash FROM audit_logs WHERE tenant_id = $1 AND seq = $2",
                  {tenant, kept.rows.at(0).Int(0) - 1}));
  if (last.rows.empty()) return 0;
  const int64_t through = last.rows[0].Int(0);
  const std::string hash = last.rows[0].Text(1);
  by.tenant = tenant;
  by.action = kAuditPrune;
  by.details = fmt::format("{{\"through\":{},\"hash\":\"{}\"}}", through,
                           Hex({reinterpret_cast<const uint8_t*>(hash.data()), hash.size()}));
  WEFT_RETURN_IF_ERROR(AppendAudit(session, {std::move(by)}, key));
  int64_t gone = 0;
  WEFT_RETURN_IF_ERROR(WithUpkeep(session, "prune", [&]() -> absl::Status {
    WEFT_ASSIGN_OR_RETURN(const Result result,
                          session.Run("DELETE FROM audit_logs WHERE tenant_id = $1 AND seq <= $2",
                                      {tenant, through}));
    gone = result.changed;
    return session
        .Run("UPDATE audit_heads SET first_seq = $2, first_hash = $3 WHERE tenant_id = $1",
             {tenant, through + 1, Value::Blob(hash)})
        .status();
  }));
  return gone;
}

}  // namespace weft::store
