// tenant|user export | erase; encryption rotate; prune: through the gateway's AdminService.
#include <CLI/CLI.hpp>
#include <cstdio>
#include <iostream>
#include <memory>
#include <string>

#include "libs/base/status.h"
#include "services/weftctl/admin_connection.h"
#include "services/weftctl/commands.h"

namespace weft::ctl {
namespace {

struct DataFlags {
  AdminFlags admin;
  std::string tenant;
  std::string id;
  bool yes = false;
  bool data_keys = false;
  uint32_t usage_days = 0;
  uint32_t audit_days = 0;
};

absl::StatusOr<int> Export(const DataFlags& flags, bool user) {
  WEFT_ASSIGN_OR_RETURN(const AdminConnection admin, ConnectAdmin(flags.admin));
  v1::ExportDataRequest request;
  request.set_tenant(user ? flags.tenant : flags.id);
  if (user) request.set_user_id(flags.id);
  grpc::ClientContext context;
  admin.Prepare(context);
  v1::ExportDataResponse response;
  WEFT_RETURN_IF_ERROR(FromGrpc(admin.stub->ExportData(&context, request, &response)));
  for (const std::string& line : response.lines()) fmt::print("{}\n", line);
  if (std::fflush(stdout) != 0) return Unavailable("the export cannot be written to stdout");
  return 0;
}

absl::StatusOr<int> Erase(const DataFlags& flags, bool user) {
  if (!flags.yes) {
    return InvalidArgument("this takes everything of {} {} away, for ever: say --yes",
                           user ? "user" : "tenant", flags.id);
  }
  WEFT_ASSIGN_OR_RETURN(const AdminConnection admin, ConnectAdmin(flags.admin));
  v1::EraseDataRequest request;
  request.set_tenant(user ? flags.tenant : flags.id);
  if (user) request.set_user_id(flags.id);
  grpc::ClientContext context;
  admin.Prepare(context);
  v1::EraseDataResponse response;
  WEFT_RETURN_IF_ERROR(FromGrpc(admin.stub->EraseData(&context, request, &response)));
  fmt::print("erased {} rows, and what is personal in {} rows of the audit\n", response.rows(),
             response.audit_rows());
  return 0;
}

absl::StatusOr<int> Rotate(const DataFlags& flags) {
  WEFT_ASSIGN_OR_RETURN(const AdminConnection admin, ConnectAdmin(flags.admin));
  v1::RotateKeysRequest request;
  request.set_tenant(flags.tenant);
  request.set_data_keys(flags.data_keys);
  grpc::ClientContext context;
  admin.Prepare(context);
  v1::RotateKeysResponse response;
  WEFT_RETURN_IF_ERROR(FromGrpc(admin.stub->RotateKeys(&context, request, &response)));
  fmt::print("wrapped {} data keys anew, sealed {} texts anew\n", response.data_keys(),
             response.texts());
  return 0;
}

absl::StatusOr<int> Prune(const DataFlags& flags) {
  WEFT_ASSIGN_OR_RETURN(const AdminConnection admin, ConnectAdmin(flags.admin));
  v1::PruneDataRequest request;
  request.set_tenant(flags.tenant);
  request.set_usage_days(flags.usage_days);
  request.set_audit_days(flags.audit_days);
  grpc::ClientContext context;
  admin.Prepare(context);
  v1::PruneDataResponse response;
  WEFT_RETURN_IF_ERROR(FromGrpc(admin.stub->PruneData(&context, request, &response)));
  fmt::print("removed {} rows of usage and {} of the audit\n", response.usage_rows(),
             response.audit_rows());
  return 0;
}

}  // namespace

void AddDataCommands(CLI::App& app, Commands& commands) {
  for (const bool user : {false, true}) {
    auto flags = std::make_shared<DataFlags>();
    auto* group = app.get_subcommand(user ? "user" : "tenant");
    const auto add = [&](const char* verb, const char* help,
                         absl::StatusOr<int> (*run)(const DataFlags&, bool)) {
      auto* command = group->add_subcommand(verb, help);
      command->add_option("id", flags->id, "its id")->required();
      if (user) command->add_option("--tenant", flags->tenant, "whose (default: one's own)");
      AddAdminFlags(command, flags->admin);
      commands.push_back({command, [flags, run, user] { return run(*flags, user); }});
      return command;
    };
    add("export", "all that is stored of it, a JSON object a line", &Export);
    add("erase", "take all that is stored of it away, for ever", &Erase)
        ->add_flag("--yes", flags->yes, "I know that it does not come back");
  }
  auto flags = std::make_shared<DataFlags>();
  auto* encryption = app.add_subcommand("encryption", "keys of the encryption at rest");
  encryption->require_subcommand(1);
  auto* rotate = encryption->add_subcommand(
      "rotate", "wrap data keys under the current master key (the first of gateway.master_keys)");
  rotate->add_option("--tenant", flags->tenant, "whose (default: one's own; *: all)");
  rotate->add_flag("--data-keys", flags->data_keys, "new data keys too: seals every text anew");
  AddAdminFlags(rotate, flags->admin);
  commands.push_back({rotate, [flags] { return Rotate(*flags); }});

  auto* prune = app.add_subcommand("prune", "remove old rows of usage and audit of a tenant");
  prune->add_option("--tenant", flags->tenant, "whose (default: one's own)");
  prune->add_option("--usage-days", flags->usage_days, "rows of usage older than so many days");
  prune->add_option("--audit-days", flags->audit_days, "rows of the audit older than so many days");
  AddAdminFlags(prune, flags->admin);
  commands.push_back({prune, [flags] { return Prune(*flags); }});
}

}  // namespace weft::ctl
