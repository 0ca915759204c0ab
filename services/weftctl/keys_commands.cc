// keys create | list | rotate | revoke: API keys, through the gateway's AdminService; keys
// generate: into a file for gateway.keys_file.
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
  std::string project;
  std::vector<std::string> scopes;
  std::vector<std::string> allowed_ips;
  std::vector<std::string> allowed_models;
  std::string signing_secret_file;  // of create and rotate
  int64_t overlap_seconds = -1;     // of rotate
  uint32_t requests_per_minute = 0;
  int64_t expires_in_days = 0;
  bool json = false;
  std::string file;         // of generate
  std::string pepper_file;  // of generate
  std::string environment;  // of generate
};

template <typename List>
std::vector<std::string> Texts(const List& list) {
  return {list.begin(), list.end()};
}

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
          {"project", key.project()},
          {"scopes", Texts(key.scopes())},
          {"allowed_ips", Texts(key.allowed_ips())},
          {"allowed_models", Texts(key.allowed_models())},
          {"environment", key.environment()},
          {"replaces", key.replaces()},
          {"revoked", key.revoked()}};
}

// A key that was made; its secrets are in the answer and nowhere else.
template <typename Response>
absl::StatusOr<int> Show(const KeysFlags& flags, const Response& response) {
  if (!flags.signing_secret_file.empty()) {
    if (response.signing_secret().empty()) {
      return FailedPrecondition(
          "the gateway takes no signed requests: gateway.key_pepper is short");
    }
    WEFT_RETURN_IF_ERROR(
        identity::WriteSecretFile(flags.signing_secret_file, response.signing_secret() + "\n"));
  }
  if (flags.json) {
    nlohmann::json out = ToJson(response.key());
    out["secret"] = response.secret();
    if (!response.signing_secret().empty()) out["signing_secret"] = response.signing_secret();
    fmt::print("{}\n", out.dump(1));
    return 0;
  }
  fmt::print("{}\n", response.secret());
  fmt::print(stderr, "key {} ({}) for tenant {}; the secret above is shown this once\n",
             response.key().id(), response.key().name(), response.key().tenant());
  return 0;
}

absl::StatusOr<int> Create(const KeysFlags& flags) {
  WEFT_ASSIGN_OR_RETURN(const AdminConnection admin, ConnectAdmin(flags.admin));
  v1::CreateKeyRequest request;
  request.set_name(flags.name);
  request.set_tenant(flags.tenant);
  request.set_role(flags.role);
  request.set_requests_per_minute(flags.requests_per_minute);
  request.set_max_priority(flags.max_priority);
  request.set_project(flags.project);
  request.mutable_scopes()->Assign(flags.scopes.begin(), flags.scopes.end());
  request.mutable_allowed_ips()->Assign(flags.allowed_ips.begin(), flags.allowed_ips.end());
  request.mutable_allowed_models()->Assign(flags.allowed_models.begin(),
                                           flags.allowed_models.end());
  if (flags.expires_in_days > 0) {
    request.set_expires_at_unix(UnixSeconds(Clock::Real().Wall()) + flags.expires_in_days * 86400);
  }
  grpc::ClientContext context;
  admin.Prepare(context);
  v1::CreateKeyResponse response;
  WEFT_RETURN_IF_ERROR(FromGrpc(admin.stub->CreateKey(&context, request, &response)));
  return Show(flags, response);
}

absl::StatusOr<int> Rotate(const KeysFlags& flags) {
  WEFT_ASSIGN_OR_RETURN(const AdminConnection admin, ConnectAdmin(flags.admin));
  v1::RotateKeyRequest request;
  request.set_id(flags.id);
  if (flags.overlap_seconds >= 0) request.set_overlap_seconds(flags.overlap_seconds);
  grpc::ClientContext context;
  admin.Prepare(context);
  v1::RotateKeyResponse response;
  WEFT_RETURN_IF_ERROR(FromGrpc(admin.stub->RotateKey(&context, request, &response)));
  return Show(flags, response);
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
  key.project = flags.project;
  key.scopes = flags.scopes;
  key.addresses = flags.allowed_ips;
  key.models = flags.allowed_models;
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
  WEFT_ASSIGN_OR_RETURN(identity::CreatedKey made,
                        identity::MakeKey(key, pepper, now, flags.environment));
  keys.push_back(made.record);
  WEFT_RETURN_IF_ERROR(identity::WriteSecretFile(flags.file, identity::FormatKeyFile(keys)));
  fmt::print("{}\n", made.text);
  fmt::print(stderr, "key {} ({}) is in {}; the secret above is shown this once\n", made.record.id,
             made.record.name, flags.file);
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
  command->add_option("--project", flags.project, "of its tenant's projects (default: none)");
  command->add_option("--scope", flags.scopes,
                      "a permission that it keeps of its roles', such as models:use; may be given "
                      "several times (default: all)");
  command->add_option("--allowed-ip", flags.allowed_ips,
                      "an address or network that it may be used from; several (default: any)");
  command->add_option("--allowed-model", flags.allowed_models,
                      "a model's id, or a beginning with '*'; several (default: its roles')");
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
  const auto add_signing = [&](CLI::App* command) {
    command->add_option("--signing-secret-file", flags->signing_secret_file,
                        "where the secret for signed requests is written, mode 0600");
  };
  add_signing(create);
  AddAdminFlags(create, flags->admin);
  commands.push_back({create, [flags] { return Create(*flags); }});

  auto* generate = keys->add_subcommand(
      "generate", "add a new key to a file for gateway.keys_file, and print its secret");
  AddKeyFlags(generate, *flags);
  generate->add_option("--file", flags->file, "the file; made when it is not there")->required();
  generate->add_option("--pepper-file", flags->pepper_file,
                       "file with gateway.key_pepper (default: no pepper)");
  generate->add_option("--environment", flags->environment,
                       "in the key's text: 1 to 16 of a-z and 0-9 (default: none)");
  commands.push_back({generate, [flags] { return Generate(*flags); }});

  auto* list = keys->add_subcommand("list", "show all keys, without their secrets");
  list->add_option("--tenant", flags->tenant, "only this tenant's");
  list->add_flag("--json", flags->json, "for programs");
  AddAdminFlags(list, flags->admin);
  commands.push_back({list, [flags] { return List(*flags); }});

  auto* rotate = keys->add_subcommand(
      "rotate", "make a key's successor and print its secret; the old one ends after a while");
  rotate->add_option("id", flags->id, "the key's id")->required();
  rotate
      ->add_option("--overlap-seconds", flags->overlap_seconds,
                   "how long the old key stays good (default: a day)")
      ->check(CLI::Range(0, 7776000));
  rotate->add_flag("--json", flags->json, "print the whole key as JSON");
  add_signing(rotate);
  AddAdminFlags(rotate, flags->admin);
  commands.push_back({rotate, [flags] { return Rotate(*flags); }});

  auto* revoke = keys->add_subcommand("revoke", "end a key at once");
  revoke->add_option("id", flags->id, "the key's id")->required();
  AddAdminFlags(revoke, flags->admin);
  commands.push_back({revoke, [flags] { return Revoke(*flags); }});
}

}  // namespace weft::ctl
