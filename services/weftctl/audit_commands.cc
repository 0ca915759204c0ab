// audit list | export | verify, and usage: through the gateway's AdminService; verify --file
// without one.
#include <CLI/CLI.hpp>
#include <cstdio>
#include <fstream>
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>

#include "libs/base/clock.h"
#include "libs/base/ids.h"
#include "libs/base/status.h"
#include "libs/store/audit_store.h"
#include "services/weftctl/admin_connection.h"
#include "services/weftctl/commands.h"
#include "services/weftctl/printable.h"

namespace weft::ctl {
namespace {

using nlohmann::ordered_json;

struct AuditFlags {
  AdminFlags admin;
  std::string tenant;
  std::string seen;
  std::string file;
  std::string key_file;
  std::string user, action, resource_type, resource_id;
  uint32_t limit = 50;
  bool json = false;
};

struct UsageFlags {
  AdminFlags admin;
  std::string tenant, from, until, project, user, key, model;
  std::vector<std::string> group_by;
  bool json = false;
};

absl::StatusOr<v1::ListAuditResponse> Page(const AdminConnection& admin,
                                           const v1::ListAuditRequest& request) {
  grpc::ClientContext context;
  admin.Prepare(context);
  v1::ListAuditResponse response;
  WEFT_RETURN_IF_ERROR(FromGrpc(admin.stub->ListAudit(&context, request, &response)));
  return response;
}

v1::ListAuditRequest RequestOf(const AuditFlags& flags) {
  v1::ListAuditRequest request;
  request.set_tenant(flags.tenant);
  request.set_user_id(flags.user);
  request.set_action(flags.action);
  request.set_resource_type(flags.resource_type);
  request.set_resource_id(flags.resource_id);
  return request;
}

absl::StatusOr<int> List(const AuditFlags& flags) {
  WEFT_ASSIGN_OR_RETURN(const AdminConnection admin, ConnectAdmin(flags.admin));
  v1::ListAuditRequest request = RequestOf(flags);
  request.set_newest_first(true);
  request.set_limit(flags.limit);
  WEFT_ASSIGN_OR_RETURN(const v1::ListAuditResponse response, Page(admin, request));
  if (!flags.json) {
    fmt::print("{:>8}  {:<20} {:<8} {:<24} {:<32} {}\n", "ROW", "TIME", "OUTCOME", "ACTION", "ON",
               "BY");
  }
  for (const v1::Resource& line : response.rows()) {
    if (flags.json) {
      fmt::print("{}\n", line.json());
      continue;
    }
    WEFT_ASSIGN_OR_RETURN(const store::AuditRow row, store::ParseAuditJson(line.json()));
    const std::string time = Rfc3339(WallTime(std::chrono::microseconds(row.at_us)));
    fmt::print("{:>8}  {:<20} {:<8} {:<24} {:<32} {}\n", row.seq, time.substr(0, 19) + "Z",
               Printable(row.outcome), Printable(row.action),
               Printable(row.resource_type + " " + row.resource_id),
               row.erased ? "(erased)" : Printable(row.user_id + " " + row.ip_address));
  }
  return 0;
}

absl::StatusOr<int> Export(const AuditFlags& flags) {
  WEFT_ASSIGN_OR_RETURN(const AdminConnection admin, ConnectAdmin(flags.admin));
  v1::ListAuditRequest request = RequestOf(flags);
  request.set_limit(900);
  while (true) {
    WEFT_ASSIGN_OR_RETURN(const v1::ListAuditResponse response, Page(admin, request));
    for (const v1::Resource& line : response.rows()) fmt::print("{}\n", line.json());
    if (!response.has_more()) break;
    WEFT_ASSIGN_OR_RETURN(const store::AuditRow last,
                          store::ParseAuditJson(response.rows(response.rows_size() - 1).json()));
    request.set_after_seq(last.seq);
  }
  if (std::fflush(stdout) != 0) return Unavailable("the rows cannot be written to stdout");
  return 0;
}

int Report(std::string_view tenant, int64_t rows, int64_t erased, std::string_view head,
           const std::vector<std::string>& faults) {
  fmt::print("{}: {} ({} rows, {} erased); head {}\n", tenant.empty() ? "(gateway)" : tenant,
             faults.empty() ? "whole" : "TAMPERED WITH", rows, erased, head);
  for (const std::string& fault : faults) fmt::print("  {}\n", fault);
  return faults.empty() ? 0 : 1;
}

// An export that begins with the first row that is kept; its end is what the file ends with.
absl::StatusOr<int> VerifyFile(const AuditFlags& flags) {
  std::string key;
  if (!flags.key_file.empty()) {
    std::ifstream file(flags.key_file);
    if (!std::getline(file, key) || key.empty()) {
      return FailedPrecondition("cannot read a key from {}", flags.key_file);
    }
  }
  std::ifstream file(flags.file);
  if (!file) return FailedPrecondition("cannot read {}", flags.file);
  std::vector<store::AuditRow> rows;
  for (std::string line; std::getline(file, line);) {
    auto row = store::ParseAuditJson(line);
    if (!row.ok()) {
      return Annotate(row.status(), fmt::format("{}, line {}", flags.file, rows.size() + 1));
    }
    rows.push_back(*std::move(row));
  }
  if (rows.empty()) return FailedPrecondition("{}: has no rows", flags.file);
  store::AuditHead head;
  head.tenant = rows[0].tenant;
  head.seq = rows.back().seq;
  head.hash = rows.back().hash;
  head.first_hash = store::AuditZeroHash();
  // Where older rows were pruned, the prune row says with which hash the chain goes on.
  for (const store::AuditRow& row : rows) {
    if (row.action != store::kAuditPrune) continue;
    const auto details = nlohmann::json::parse(row.details, nullptr, false);
    if (!details.is_object() || details.value("through", int64_t{0}) != rows[0].seq - 1) continue;
    head.first_seq = rows[0].seq;
    ParseHex(details.value("hash", std::string()),
             {reinterpret_cast<uint8_t*>(head.first_hash.data()), head.first_hash.size()});
  }
  store::AuditVerifier verifier(head, key);
  for (const store::AuditRow& row : rows) verifier.Feed(row);
  const auto faults = verifier.Finish();
  return Report(
      head.tenant, verifier.rows(), verifier.erased(),
      fmt::format("{}:{}", head.seq,
                  Hex({reinterpret_cast<const uint8_t*>(head.hash.data()), head.hash.size()})),
      faults);
}

absl::StatusOr<int> Verify(const AuditFlags& flags) {
  if (!flags.file.empty()) return VerifyFile(flags);
  WEFT_ASSIGN_OR_RETURN(const AdminConnection admin, ConnectAdmin(flags.admin));
  v1::VerifyAuditRequest request;
  request.set_tenant(flags.tenant);
  request.set_seen(flags.seen);
  grpc::ClientContext context;
  admin.Prepare(context);
  v1::VerifyAuditResponse response;
  WEFT_RETURN_IF_ERROR(FromGrpc(admin.stub->VerifyAudit(&context, request, &response)));
  int exit = 0;
  for (const v1::AuditChainReport& chain : response.chains()) {
    exit |= Report(chain.tenant(), chain.rows(), chain.erased(), chain.head(),
                   {chain.faults().begin(), chain.faults().end()});
  }
  return exit;
}

absl::StatusOr<int> Usage(const UsageFlags& flags) {
  WEFT_ASSIGN_OR_RETURN(const AdminConnection admin, ConnectAdmin(flags.admin));
  v1::GetUsageRequest request;
  request.set_tenant(flags.tenant);
  request.set_from_day(flags.from);
  request.set_until_day(flags.until);
  for (const std::string& name : flags.group_by) request.add_group_by(name);
  request.set_project(flags.project);
  request.set_user_id(flags.user);
  request.set_key_id(flags.key);
  request.set_model(flags.model);
  grpc::ClientContext context;
  admin.Prepare(context);
  v1::GetUsageResponse response;
  WEFT_RETURN_IF_ERROR(FromGrpc(admin.stub->GetUsage(&context, request, &response)));
  if (!flags.json) {
    for (const std::string& name : flags.group_by) fmt::print("{:<24} ", name);
    fmt::print("{:>10} {:>14} {:>14} {:>14} {:>14}\n", "requests", "prompt", "of it cached",
               "completion", "cost");
  }
  ordered_json all = ordered_json::array();
  for (const v1::UsageSum& sum : response.sums()) {
    if (flags.json) {
      ordered_json one;
      for (int i = 0; i < sum.group_size(); ++i) {
        one[flags.group_by[static_cast<size_t>(i)]] = sum.group(i);
      }
      one["requests"] = sum.requests();
      one["prompt_tokens"] = sum.prompt_tokens();
      one["cached_prompt_tokens"] = sum.cached_prompt_tokens();
      one["completion_tokens"] = sum.completion_tokens();
      one["cost_micros"] = sum.cost_micros();
      all.push_back(std::move(one));
      continue;
    }
    for (const std::string& value : sum.group()) fmt::print("{:<24} ", Printable(value));
    fmt::print("{:>10} {:>14} {:>14} {:>14} {:>14.6f}\n", sum.requests(), sum.prompt_tokens(),
               sum.cached_prompt_tokens(), sum.completion_tokens(),
               static_cast<double>(sum.cost_micros()) / 1e6);
  }
  if (flags.json) fmt::print("{}\n", all.dump(1));
  return 0;
}

void AddUsageCommand(CLI::App& app, Commands& commands) {
  auto flags = std::make_shared<UsageFlags>();
  auto* usage = app.add_subcommand("usage", "requests, tokens and cost");
  usage->add_option("--tenant", flags->tenant, "whose (default: one's own; *: all)");
  usage->add_option("--from", flags->from, "first day, such as 2026-01-31 (UTC)");
  usage->add_option("--until", flags->until, "last day");
  usage
      ->add_option("--by", flags->group_by,
                   "what sums are kept apart by: day, month, tenant, project, user, key, model")
      ->delimiter(',');
  usage->add_option("--project", flags->project, "only this one's");
  usage->add_option("--user", flags->user, "only this one's");
  usage->add_option("--key", flags->key, "only this one's");
  usage->add_option("--model", flags->model, "only of this one");
  usage->add_flag("--json", flags->json, "for programs");
  AddAdminFlags(usage, flags->admin);
  commands.push_back({usage, [flags] { return Usage(*flags); }});
}

}  // namespace

void AddAuditCommands(CLI::App& app, Commands& commands) {
  auto flags = std::make_shared<AuditFlags>();
  auto* audit = app.add_subcommand("audit", "who did what: the gateway's audit");
  audit->require_subcommand(1);
  const auto filters = [&](CLI::App* command) {
    command->add_option("--tenant", flags->tenant,
                        "whose chain (default: one's own; *: the gateway's)");
    command->add_option("--user", flags->user, "only of this user");
    command->add_option("--action", flags->action, "only this action, such as keys:create");
    command->add_option("--resource-type", flags->resource_type, "only on such");
    command->add_option("--resource", flags->resource_id, "only on this one");
    AddAdminFlags(command, flags->admin);
  };
  auto* list = audit->add_subcommand("list", "the newest rows");
  filters(list);
  list->add_option("--limit", flags->limit, "how many (default: 50)")->check(CLI::Range(1, 999));
  list->add_flag("--json", flags->json, "for programs: a JSON object a line");
  commands.push_back({list, [flags] { return List(*flags); }});

  auto* out = audit->add_subcommand("export", "all rows, oldest first, a JSON object a line");
  filters(out);
  commands.push_back({out, [flags] { return Export(*flags); }});

  auto* verify =
      audit->add_subcommand("verify", "find rows that were changed, removed, added or moved");
  verify->add_option("--tenant", flags->tenant, "whose chain (default: one's own; *: all)");
  verify->add_option("--seen", flags->seen, "a head of an earlier verification, number:hash");
  verify->add_option("--file", flags->file, "an export, instead of a gateway");
  verify->add_option("--audit-key-file", flags->key_file,
                     "with --file: a file with gateway.audit_key (default: no key)");
  AddAdminFlags(verify, flags->admin);
  commands.push_back({verify, [flags] { return Verify(*flags); }});
  AddUsageCommand(app, commands);
}

}  // namespace weft::ctl
