// keys create | list | revoke: API keys, through the gateway's AdminService; keys generate: into a
// file for gateway.keys_file.
#include <CLI/CLI.hpp>
#include <chrono>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <memory>
#include <nlohmann/json.hpp>

#include "libs/base/clock.h"
#include "libs/base/status.h"
#include "libs/identity/key_file.h"
#include "libs/identity/key_service.h"
#include "libs/identity/permission.h"
#include "services/weftctl/admin_connection.h"
#include "services/weftctl/commands.h"

namespace weft::ctl {
namespace {

struct KeysFlags {
  AdminFlags admin;
  std::string name;
  std::string tenant;
  std::string role;
  std::string max_priority;
  std::string id;
  uint32_t requests_per_minute = 0;
  int64_t expires_in_days = 0;
  bool json = false;
  std::string file;         // of generate
  std::string pepper_file;  // of generate
};

nlohmann::json ToJson(const v1::ApiKey& key) {
  return {{"id", key.id()},
          {"name", key.name()},
          {"tenant", key.tenant()},
          {"role", key.role()},
          {"requests_per_minute", key.requests_per_minute()},
          {"max_priority", key.max_priority()},
          {"created_at_unix", key.created_at_unix()},
          {"expires_at_unix", key.expires_at_unix()},
          {"last_used_at_unix", key.last_used_at_unix()},
          {"revoked", key.revoked()}};
}

absl::StatusOr<int> Create(const KeysFlags& flags) {
  WEFT_ASSIGN_OR_RETURN(const AdminConnection admin, ConnectAdmin(flags.admin));
  v1::CreateKeyRequest request;
  request.set_name(flags.name);
  request.set_tenant(flags.tenant);
  request.set_role(flags.role);
  request.set_requests_per_minute(flags.requests_per_minute);
  request.set_max_priority(flags.max_priority);
  if (flags.expires_in_days > 0) {
    request.set_expires_at_unix(UnixSeconds(Clock::Real().Wall()) + flags.expires_in_days * 86400);
  }
  grpc::ClientContext context;
  admin.Prepare(context);
  v1::CreateKeyResponse response;
  WEFT_RETURN_IF_ERROR(FromGrpc(admin.stub->CreateKey(&context, request, &response)));
  if (flags.json) {
    nlohmann::json out = ToJson(response.key());
    out["secret"] = response.secret();
    fmt::print("{}\n", out.dump(1));
  } else {
    fmt::print("{}\n", response.secret());
    fmt::print(stderr, "key {} ({}) for tenant {}; the secret above is shown this once\n",
               response.key().id(), response.key().name(), response.key().tenant());
  }
  return 0;
}

absl::StatusOr<int> List(const KeysFlags& flags) {
  WEFT_ASSIGN_OR_RETURN(const AdminConnection admin, ConnectAdmin(flags.admin));
  v1::ListKeysRequest request;
  request.set_tenant(flags.tenant);
  grpc::ClientContext context;
  admin.Prepare(context);
  v1::ListKeysResponse response;
  WEFT_RETURN_IF_ERROR(FromGrpc(admin.stub->ListKeys(&context, request, &response)));
  if (flags.json) {
    nlohmann::json out = nlohmann::json::array();
    for (const v1::ApiKey& key : response.keys()) out.push_back(ToJson(key));
    fmt::print("{}\n", out.dump(1));
    return 0;
  }
  fmt::print("{:<26} {:<20} {:<16} {:<10} {:>8}  {:<8} {:<10} {:<10} {:<10}\n", "ID", "NAME",
             "TENANT", "ROLE", "RPM", "PRIORITY", "CREATED", "EXPIRES", "LAST USED");
  for (const v1::ApiKey& key : response.keys()) {
    fmt::print("{:<26} {:<20} {:<16} {:<10} {:>8}  {:<8} {:<10} {:<10} {:<10}{}\n", key.id(),
               key.name(), key.tenant(), key.role(), key.requests_per_minute(),
               key.max_priority().empty() ? "by role" : key.max_priority(),
               ShownDate(key.created_at_unix()), ShownDate(key.expires_at_unix()),
               ShownDate(key.last_used_at_unix()), key.revoked() ? " revoked" : "");
  }
  return 0;
}

absl::StatusOr<int> Revoke(const KeysFlags& flags) {
  WEFT_ASSIGN_OR_RETURN(const AdminConnection admin, ConnectAdmin(flags.admin));
  v1::RevokeKeyRequest request;
  request.set_id(flags.id);
  grpc::ClientContext context;
  admin.Prepare(context);
  v1::RevokeKeyResponse response;
  WEFT_RETURN_IF_ERROR(FromGrpc(admin.stub->RevokeKey(&context, request, &response)));
  fmt::print("revoked {}\n", flags.id);
  return 0;
}

absl::StatusOr<int> Generate(const KeysFlags& flags) {
  identity::NewKey key;
  key.name = flags.name;
  if (!flags.tenant.empty()) key.tenant = flags.tenant;
  if (!flags.role.empty()) key.role = flags.role;
  if (flags.requests_per_minute > 0) key.requests_per_minute = flags.requests_per_minute;
  key.max_priority = flags.max_priority;
  const int64_t now = UnixSeconds(Clock::Real().Wall());
  if (flags.expires_in_days > 0) key.expires_at = now + flags.expires_in_days * 86400;
  std::string pepper;
  if (!flags.pepper_file.empty()) {
    std::ifstream file(flags.pepper_file);
    if (!std::getline(file, pepper) || pepper.empty()) {
      return FailedPrecondition("cannot read a pepper from {}", flags.pepper_file);
    }
  }
  std::vector<store::KeyRecord> keys;
  if (std::filesystem::exists(flags.file)) {
    WEFT_ASSIGN_OR_RETURN(keys, identity::ReadKeyFile(flags.file));
  }
  WEFT_ASSIGN_OR_RETURN(identity::CreatedKey made, identity::MakeKey(key, pepper, now));
  keys.push_back(made.record);
  WEFT_RETURN_IF_ERROR(identity::WriteSecretFile(flags.file, identity::FormatKeyFile(keys)));
  fmt::print("{}\n", made.text);
  fmt::print(stderr, "key {} ({}) is in {}; the secret above is shown this once\n", made.record.id,
             made.record.name, flags.file);
  return 0;
}

// The table of libs/identity, for people who write roles and scopes.
int ShowPermissions() {
  fmt::print("{:<20} {:<42} {}\n", "PERMISSION", "ROLES", "ALLOWS TO");
  for (const identity::PermissionInfo& row : identity::PermissionTable()) {
    const std::string roles = row.roles.empty() ? "admin" : fmt::format("admin {}", row.roles);
    fmt::print("{:<20} {:<42} {}\n", row.name, roles, row.meaning);
  }
  return 0;
}

void AddKeyFlags(CLI::App* command, KeysFlags& flags) {
  command->add_option("--name", flags.name, "what the key is for")->required();
  command->add_option("--tenant", flags.tenant, "whose it is (default: default)");
  command->add_option("--role", flags.role,
                      "admin, operator, developer, viewer, auditor or a custom role; several are "
                      "separated by commas (default: developer)");
  command->add_option("--requests-per-minute", flags.requests_per_minute, "its rate (default: 60)")
      ->check(CLI::Range(1u, 100'000'000u));
  command
      ->add_option("--max-priority", flags.max_priority,
                   "the highest priority it may ask for: low, normal or high (default: by role)")
      ->check(CLI::IsMember({"low", "normal", "high"}));
  command->add_option("--expires-in-days", flags.expires_in_days, "0: never")
      ->check(CLI::Range(0, 36500));
}

}  // namespace

void AddKeysCommands(CLI::App& app, Commands& commands) {
  auto flags = std::make_shared<KeysFlags>();
  auto* keys = app.add_subcommand("keys", "API keys of a mesh that runs");
  keys->require_subcommand(1);

  auto* create = keys->add_subcommand("create", "make a key and print its secret");
  AddKeyFlags(create, *flags);
  create->add_flag("--json", flags->json, "print the whole key as JSON");
  AddAdminFlags(create, flags->admin);
  commands.push_back({create, [flags] { return Create(*flags); }});

  auto* generate = keys->add_subcommand(
      "generate", "add a new key to a file for gateway.keys_file, and print its secret");
  AddKeyFlags(generate, *flags);
  generate->add_option("--file", flags->file, "the file; made when it is not there")->required();
  generate->add_option("--pepper-file", flags->pepper_file,
                       "file with gateway.key_pepper (default: no pepper)");
  commands.push_back({generate, [flags] { return Generate(*flags); }});

  auto* list = keys->add_subcommand("list", "show all keys, without their secrets");
  list->add_option("--tenant", flags->tenant, "only this tenant's");
  list->add_flag("--json", flags->json, "for programs");
  AddAdminFlags(list, flags->admin);
  commands.push_back({list, [flags] { return List(*flags); }});

  auto* permissions =
      app.add_subcommand("permissions", "what may be permitted, and which roles have it");
  commands.push_back({permissions, [] { return ShowPermissions(); }});

  auto* revoke = keys->add_subcommand("revoke", "end a key at once");
  revoke->add_option("id", flags->id, "the key's id")->required();
  AddAdminFlags(revoke, flags->admin);
  commands.push_back({revoke, [flags] { return Revoke(*flags); }});
}

}  // namespace weft::ctl
