#include "libs/store/tenant_data.h"

#include <nlohmann/json.hpp>
#include <optional>
#include <set>

#include "libs/base/status.h"
#include "libs/store/changes.h"
#include "libs/store/prompt_store.h"
#include "libs/store/resource.h"
#include "libs/store/usage_store.h"

namespace weft::store {
namespace {

using nlohmann::ordered_json;
using Line = std::function<absl::Status(std::string_view)>;

constexpr size_t kPage = 500;

absl::Status Give(std::string_view type, const ordered_json& record, const Line& line) {
  ordered_json out;
  out["type"] = type;
  out.update(record);
  return line(out.dump(-1, ' ', false, ordered_json::error_handler_t::replace));
}

// The names that rows know a user by.
struct Person {
  std::string id;
  std::string username;
  std::set<std::string> names;  // in usage and audit: the subject, and the keys'
  std::vector<std::string> keys;
};

absl::StatusOr<Person> FindPerson(Session& session, const DataOwner& owner) {
  WEFT_ASSIGN_OR_RETURN(const Result found,
                        session.Run("SELECT username FROM users WHERE tenant = $1 AND id = $2",
                                    {owner.tenant, owner.user_id}));
  if (found.rows.empty()) return NotFound("there is no user '{}'", owner.user_id);
  Person person{owner.user_id, found.rows[0].Text(0), {}, {}};
  person.names = {owner.user_id, person.username, "user:" + person.username};
  WEFT_ASSIGN_OR_RETURN(
      const Result keys,
      session.Run("SELECT id FROM api_keys WHERE tenant = $1 AND (user_id = $2 OR user_id = $3 OR "
                  "user_id = $4)",
                  {owner.tenant, owner.user_id, person.username, "user:" + person.username}));
  for (const Row& row : keys.rows) {
    person.keys.push_back(row.Text(0));
    person.names.insert(row.Text(0));
    person.names.insert("key:" + row.Text(0));
  }
  return person;
}

// "$4, $5" for values that are put behind those that are there.
std::string Places(Values& values, const std::set<std::string>& texts) {
  std::string out;
  for (const std::string& text : texts) {
    values.emplace_back(text);
    out += fmt::format("{}${}", out.empty() ? "" : ", ", values.size());
  }
  return out;
}

absl::StatusOr<ordered_json> UsageJson(const UsageRecord& r) {
  return ordered_json{{"id", r.id},
                      {"tenant", r.tenant},
                      {"project", r.project},
                      {"user", r.user_id},
                      {"key_id", r.key_id},
                      {"model", r.model},
                      {"request_id", r.request_id},
                      {"endpoint", r.endpoint},
                      {"outcome", r.outcome},
                      {"prompt_tokens", r.prompt_tokens},
                      {"cached_prompt_tokens", r.cached_prompt_tokens},
                      {"completion_tokens", r.completion_tokens},
                      {"cost_micros", r.cost_micros},
                      {"cached", r.cached},
                      {"duration_ms", r.duration_ms},
                      {"created_at_us", r.at_us}};
}

absl::Status ExportResources(Database& database, const DataOwner& owner,
                             const std::optional<Person>& person, const Line& line) {
  for (const ResourceType& type : ResourceTypes()) {
    std::string after;
    while (true) {
      std::vector<ordered_json> page;
      WEFT_RETURN_IF_ERROR(
          database.Read(Scope::Tenant(owner.tenant), [&](Session& session) -> absl::Status {
            WEFT_ASSIGN_OR_RETURN(page, ListResources(session, type, owner.tenant, after, kPage));
            return absl::OkStatus();
          }));
      for (const ordered_json& record : page) {
        const bool theirs = !person || (type.name == "users" && record["id"] == person->id) ||
                            ((type.name == "role_bindings" || type.name == "quotas") &&
                             record["subject_kind"] == "user" &&
                             person->names.contains(record["subject_id"].get<std::string>()));
        if (theirs) WEFT_RETURN_IF_ERROR(Give(type.name, record, line));
      }
      if (page.size() < kPage) break;
      after = page.back()["id"].get<std::string>();
    }
  }
  return absl::OkStatus();
}

absl::Status ExportKeys(Database& database, const DataOwner& owner,
                        const std::optional<Person>& person, const Line& line) {
  WEFT_ASSIGN_OR_RETURN(
      const Result keys,
      database.ReadOne(Scope::Tenant(owner.tenant),
                       "SELECT id, name, role, created_at, expires_at, last_used_at, revoked_at, "
                       "user_id FROM api_keys WHERE tenant = $1 ORDER BY id",
                       {owner.tenant}));
  for (const Row& row : keys.rows) {
    if (person && !person->names.contains(row.Text(0))) continue;
    WEFT_RETURN_IF_ERROR(Give("api_keys",
                              {{"id", row.Text(0)},
                               {"name", row.Text(1)},
                               {"role", row.Text(2)},
                               {"created_at", row.Int(3)},
                               {"expires_at", row.Int(4)},
                               {"last_used_at", row.Int(5)},
                               {"revoked_at", row.Int(6)},
                               {"user_id", row.Text(7)}},
                              line));
  }
  return absl::OkStatus();
}

absl::Status ExportUsage(Database& database, const DataOwner& owner,
                         const std::optional<Person>& person, const Line& line) {
  std::string after;
  while (true) {
    std::vector<UsageRecord> page;
    WEFT_RETURN_IF_ERROR(
        database.Read(Scope::Tenant(owner.tenant), [&](Session& session) -> absl::Status {
          WEFT_ASSIGN_OR_RETURN(page, ReadUsage(session, owner.tenant, after, kPage));
          return absl::OkStatus();
        }));
    for (const UsageRecord& record : page) {
      if (person && !person->names.contains(record.user_id) &&
          !person->names.contains(record.key_id)) {
        continue;
      }
      WEFT_ASSIGN_OR_RETURN(const ordered_json shown, UsageJson(record));
      WEFT_RETURN_IF_ERROR(Give("usage", shown, line));
    }
    if (page.size() < kPage) return absl::OkStatus();
    after = page.back().id;
  }
}

absl::Status ExportAudit(Database& database, const DataOwner& owner,
                         const std::optional<Person>& person, const Line& line) {
  AuditFilter filter{.tenant = owner.tenant, .limit = kPage};
  while (true) {
    std::vector<AuditRow> page;
    WEFT_RETURN_IF_ERROR(
        database.Read(Scope::Tenant(owner.tenant), [&](Session& session) -> absl::Status {
          WEFT_ASSIGN_OR_RETURN(page, ReadAudit(session, filter));
          return absl::OkStatus();
        }));
    for (const AuditRow& row : page) {
      if (person && !person->names.contains(row.user_id) && !person->names.contains(row.key_id)) {
        continue;
      }
      WEFT_RETURN_IF_ERROR(Give("audit", ordered_json::parse(AuditJson(row)), line));
    }
    if (page.size() < kPage) return absl::OkStatus();
    filter.after_seq = page.back().seq;
  }
}

absl::Status ExportPrompts(Database& database, const DataOwner& owner,
                           const std::optional<Person>& person, const SecretStore& secrets,
                           const Line& line) {
  constexpr size_t kPromptPage = 50;  // each may be long
  std::string after;
  while (true) {
    std::vector<KeptPrompt> page;
    WEFT_RETURN_IF_ERROR(
        database.Read(Scope::Tenant(owner.tenant), [&](Session& session) -> absl::Status {
          WEFT_ASSIGN_OR_RETURN(page,
                                ReadPrompts(session, secrets, owner.tenant, after, kPromptPage));
          return absl::OkStatus();
        }));
    for (const KeptPrompt& prompt : page) {
      if (person && !person->names.contains(prompt.user_id)) continue;
      const ordered_json record = ordered_json::parse(prompt.text, nullptr, false);
      if (!record.is_object()) return DataLoss("the prompt {} is no record", prompt.request_id);
      WEFT_RETURN_IF_ERROR(Give("prompts", record, line));
    }
    if (page.size() < kPromptPage) return absl::OkStatus();
    after = page.back().request_id;
  }
}

// The sums of a day stay, without who.
absl::Status MergeDays(Session& session, const std::string& tenant, const std::string& condition,
                       Values values) {
  WEFT_ASSIGN_OR_RETURN(
      const Result taken,
      session.Run("DELETE FROM usage_daily WHERE tenant = $1 AND (user_id <> '' OR key_id <> '') "
                  "AND " +
                      condition +
                      " RETURNING day, project, model, requests, prompt_tokens, "
                      "cached_prompt_tokens, completion_tokens, cost_micros",
                  values));
  for (const Row& row : taken.rows) {
    WEFT_RETURN_IF_ERROR(
        session
            .Run(
                "INSERT INTO usage_daily (tenant, day, project, user_id, key_id, model, requests, "
                "prompt_tokens, cached_prompt_tokens, completion_tokens, cost_micros) VALUES ($1, "
                "$2, $3, '', '', $4, $5, $6, $7, $8, $9) ON CONFLICT (tenant, day, project, "
                "user_id, key_id, model) DO UPDATE SET requests = usage_daily.requests + "
                "excluded.requests, prompt_tokens = usage_daily.prompt_tokens + "
                "excluded.prompt_tokens, cached_prompt_tokens = usage_daily.cached_prompt_tokens + "
                "excluded.cached_prompt_tokens, completion_tokens = usage_daily.completion_tokens "
                "+ excluded.completion_tokens, cost_micros = usage_daily.cost_micros + "
                "excluded.cost_micros",
                {tenant, row[0], row[1], row[2], row[3], row[4], row[5], row[6], row[7]})
            .status());
  }
  return absl::OkStatus();
}

absl::StatusOr<Erased> EraseTenant(Session& session, const std::string& tenant, int64_t now) {
  WEFT_ASSIGN_OR_RETURN(
      const Result marked,
      session.Run("UPDATE tenants SET status = 'erased', display_name = '', settings = '{}', "
                  "quota_limits = '{}', billing_info = '{}', updated_at = $2 WHERE name = $1",
                  {tenant, now}));
  if (marked.changed == 0) return NotFound("there is no tenant '{}'", tenant);
  Erased erased;
  // Without their data keys, copies of the sealed texts in backups cannot be read either.
  for (const char* table : {"secrets", "data_keys", "role_bindings", "roles", "quotas", "settings",
                            "api_keys", "users", "projects", "usage_records"}) {
    WEFT_ASSIGN_OR_RETURN(
        const Result gone,
        session.Run(fmt::format("DELETE FROM {} WHERE tenant = $1", table), {tenant}));
    erased.rows += gone.changed;
  }
  WEFT_ASSIGN_OR_RETURN(const Result metrics,
                        session.Run("DELETE FROM system_metrics WHERE tenant_id = $1", {tenant}));
  erased.rows += metrics.changed;
  WEFT_RETURN_IF_ERROR(MergeDays(session, tenant, "TRUE", {tenant}));
  return erased;
}

absl::StatusOr<Erased> ErasePerson(Session& session, const std::string& tenant,
                                   const Person& person) {
  Erased erased;
  const auto run = [&](const std::string& sql, const Values& values) -> absl::Status {
    WEFT_ASSIGN_OR_RETURN(const Result done, session.Run(sql, values));
    erased.rows += done.changed;
    return absl::OkStatus();
  };
  Values values = {tenant};
  const std::string names = Places(values, person.names);
  WEFT_RETURN_IF_ERROR(
      run(fmt::format("DELETE FROM secrets WHERE tenant = $1 AND user_id IN ({})", names), values));
  WEFT_RETURN_IF_ERROR(run(fmt::format("DELETE FROM role_bindings WHERE tenant = $1 AND "
                                       "subject_kind = 'user' AND subject_id IN ({})",
                                       names),
                           values));
  WEFT_RETURN_IF_ERROR(run(fmt::format("DELETE FROM quotas WHERE tenant = $1 AND subject_kind IN "
                                       "('user', 'key') AND subject_id IN ({})",
                                       names),
                           values));
  WEFT_RETURN_IF_ERROR(
      run(fmt::format("DELETE FROM api_keys WHERE tenant = $1 AND id IN ({})", names), values));
  WEFT_RETURN_IF_ERROR(run("DELETE FROM users WHERE tenant = $1 AND id = $2", {tenant, person.id}));
  WEFT_RETURN_IF_ERROR(
      run(fmt::format("UPDATE usage_records SET user_id = '', key_id = '' WHERE tenant = $1 AND "
                      "(user_id IN ({0}) OR key_id IN ({0}))",
                      names),
          values));
  WEFT_RETURN_IF_ERROR(MergeDays(
      session, tenant, fmt::format("(user_id IN ({0}) OR key_id IN ({0}))", names), values));
  return erased;
}

}  // namespace

absl::Status ExportData(Database& database, const DataOwner& owner, const Line& line,
                        const SecretStore* secrets) {
  std::optional<Person> person;
  WEFT_RETURN_IF_ERROR(
      database.Read(Scope::Tenant(owner.tenant), [&](Session& session) -> absl::Status {
        if (owner.user_id.empty()) {
          return GetResource(session, *FindResourceType("tenants"), owner.tenant, owner.tenant)
              .status();
        }
        WEFT_ASSIGN_OR_RETURN(person, FindPerson(session, owner));
        return absl::OkStatus();
      }));
  WEFT_RETURN_IF_ERROR(ExportResources(database, owner, person, line));
  WEFT_RETURN_IF_ERROR(ExportKeys(database, owner, person, line));
  WEFT_RETURN_IF_ERROR(ExportUsage(database, owner, person, line));
  if (secrets != nullptr && secrets->available()) {
    WEFT_RETURN_IF_ERROR(ExportPrompts(database, owner, person, *secrets, line));
  }
  return ExportAudit(database, owner, person, line);
}

absl::StatusOr<Erased> EraseData(Session& session, const DataOwner& owner, AuditRow by,
                                 std::string_view audit_key, int64_t now) {
  if (!session.scope().Covers(owner.tenant)) return PermissionDenied("data of another tenant");
  Erased erased;
  if (owner.user_id.empty()) {
    WEFT_ASSIGN_OR_RETURN(erased, EraseTenant(session, owner.tenant, now));
    WEFT_ASSIGN_OR_RETURN(
        erased.audit_rows,
        EraseAudit(session, owner.tenant, std::vector<std::string>(), std::move(by), audit_key));
  } else {
    WEFT_ASSIGN_OR_RETURN(const Person person, FindPerson(session, owner));
    WEFT_ASSIGN_OR_RETURN(erased, ErasePerson(session, owner.tenant, person));
    WEFT_ASSIGN_OR_RETURN(
        erased.audit_rows,
        EraseAudit(session, owner.tenant,
                   std::vector<std::string>(person.names.begin(), person.names.end()),
                   std::move(by), audit_key));
  }
  WEFT_RETURN_IF_ERROR(NoteChange(session, Topic::kIdentity));
  WEFT_RETURN_IF_ERROR(NoteChange(session, Topic::kKeys));
  WEFT_RETURN_IF_ERROR(NoteChange(session, Topic::kQuotas));
  return erased;
}

}  // namespace weft::store
