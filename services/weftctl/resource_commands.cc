// tenant, project, user, role, role-binding, quota, setting: list | show | create | update |
// delete, through the gateway's AdminService; the types and their fields are those of
// libs/store/resource.h.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <fstream>
#include <memory>
#include <nlohmann/json.hpp>

#include "libs/base/status.h"
#include "libs/json/strict_json.h"
#include "libs/store/resource.h"
#include "services/weftctl/admin_connection.h"
#include "services/weftctl/commands.h"

namespace weft::ctl {
namespace {

using nlohmann::json;
using nlohmann::ordered_json;
using store::FieldKind;
using store::ResourceType;

struct ResourceFlags {
  AdminFlags admin;
  std::string tenant;
  std::string id;
  std::vector<std::string> fields;  // name=value
  std::string file;                 // a JSON object
  std::string password_file;
  bool json = false;
};

// A value of the command line as the field takes it: text as it is, all else as JSON.
absl::StatusOr<json> ReadValue(const ResourceType& type, const std::string& name,
                               const std::string& text) {
  for (const store::ResourceField& field : type.fields) {
    if (field.name != name) continue;
    if (field.kind == FieldKind::kText || field.kind == FieldKind::kName) return json(text);
    auto value = ParseStrictJson(text);
    if (!value.ok()) return Annotate(value.status(), name);
    return value;
  }
  return InvalidArgument("{}: is not a field of a {}", name, type.singular);
}

absl::StatusOr<json> Body(const ResourceType& type, const ResourceFlags& flags) {
  json body = json::object();
  if (!flags.file.empty()) {
    std::ifstream file(flags.file);
    const std::string text((std::istreambuf_iterator<char>(file)), {});
    if (!file) return FailedPrecondition("cannot read {}", flags.file);
    auto read = ParseStrictJson(text);
    if (!read.ok()) return Annotate(read.status(), flags.file);
    body = *std::move(read);
  }
  for (const std::string& field : flags.fields) {
    const size_t equals = field.find('=');
    if (equals == std::string::npos) return InvalidArgument("--set {}: expected name=value", field);
    const std::string name = field.substr(0, equals);
    WEFT_ASSIGN_OR_RETURN(body[name], ReadValue(type, name, field.substr(equals + 1)));
  }
  if (!flags.password_file.empty()) {
    std::ifstream file(flags.password_file);
    std::string password;
    if (!std::getline(file, password) || password.empty()) {
      return FailedPrecondition("cannot read a password from {}", flags.password_file);
    }
    body["password"] = password;
  }
  return body;
}

std::string Cell(const ordered_json& value) {
  return value.is_string() ? value.get<std::string>() : value.dump();
}

void PrintOne(const std::string& text) { fmt::print("{}\n", ordered_json::parse(text).dump(1)); }

absl::StatusOr<int> List(const ResourceType& type, const ResourceFlags& flags) {
  WEFT_ASSIGN_OR_RETURN(const AdminConnection admin, ConnectAdmin(flags.admin));
  std::vector<ordered_json> records;
  v1::ListResourcesRequest request;
  request.set_type(std::string(type.name));
  request.set_tenant(flags.tenant);
  request.set_limit(500);
  while (true) {
    grpc::ClientContext context;
    admin.Prepare(context);
    v1::ListResourcesResponse response;
    WEFT_RETURN_IF_ERROR(FromGrpc(admin.stub->ListResources(&context, request, &response)));
    for (const v1::Resource& record : response.resources()) {
      records.push_back(ordered_json::parse(record.json()));
    }
    if (!response.has_more()) break;
    const ordered_json& last = records.back();
    const std::string id = last["id"].get<std::string>();
    const bool all = flags.tenant == "*" || !last.contains("tenant");
    request.set_after(all ? last.value("tenant", id) + "/" + id : id);
  }
  if (flags.json) {
    fmt::print("{}\n", ordered_json(records).dump(1));
    return 0;
  }
  // The columns that are short enough to be one.
  std::vector<std::string> columns = {"id"};
  if (type.name != "tenants") columns.emplace_back("tenant");
  for (const store::ResourceField& field : type.fields) {
    if (field.kind == FieldKind::kText || field.kind == FieldKind::kName ||
        field.kind == FieldKind::kInteger) {
      columns.emplace_back(field.name);
    }
  }
  std::vector<size_t> widths;
  for (const std::string& column : columns) {
    size_t width = column.size();
    for (const ordered_json& record : records) {
      width = std::max(width, Cell(record.value(column, ordered_json(""))).size());
    }
    widths.push_back(width);
  }
  const auto line = [&](const std::function<std::string(size_t)>& cell) {
    std::string out;
    for (size_t i = 0; i < columns.size(); ++i) out += fmt::format("{:<{}}  ", cell(i), widths[i]);
    out.erase(out.find_last_not_of(' ') + 1);
    fmt::print("{}\n", out);
  };
  line([&](size_t i) {
    std::string title = columns[i];
    for (char& c : title) c = c == '_' ? ' ' : static_cast<char>(std::toupper(c));
    return title;
  });
  for (const ordered_json& record : records) {
    line([&](size_t i) { return Cell(record.value(columns[i], ordered_json(""))); });
  }
  return 0;
}

absl::StatusOr<int> Show(const ResourceType& type, const ResourceFlags& flags) {
  WEFT_ASSIGN_OR_RETURN(const AdminConnection admin, ConnectAdmin(flags.admin));
  v1::GetResourceRequest request;
  request.set_type(std::string(type.name));
  request.set_tenant(flags.tenant);
  request.set_id(flags.id);
  grpc::ClientContext context;
  admin.Prepare(context);
  v1::Resource record;
  WEFT_RETURN_IF_ERROR(FromGrpc(admin.stub->GetResource(&context, request, &record)));
  PrintOne(record.json());
  return 0;
}

absl::StatusOr<int> Create(const ResourceType& type, const ResourceFlags& flags) {
  WEFT_ASSIGN_OR_RETURN(json body, Body(type, flags));
  if (!flags.id.empty()) {
    if (type.name == "users") {
      body["username"] = flags.id;
    } else {
      body["id"] = flags.id;
    }
  }
  WEFT_ASSIGN_OR_RETURN(const AdminConnection admin, ConnectAdmin(flags.admin));
  v1::CreateResourceRequest request;
  request.set_type(std::string(type.name));
  request.set_tenant(flags.tenant);
  request.set_json(body.dump());
  grpc::ClientContext context;
  admin.Prepare(context);
  v1::Resource record;
  WEFT_RETURN_IF_ERROR(FromGrpc(admin.stub->CreateResource(&context, request, &record)));
  PrintOne(record.json());
  return 0;
}

absl::StatusOr<int> Update(const ResourceType& type, const ResourceFlags& flags) {
  WEFT_ASSIGN_OR_RETURN(const json body, Body(type, flags));
  WEFT_ASSIGN_OR_RETURN(const AdminConnection admin, ConnectAdmin(flags.admin));
  v1::UpdateResourceRequest request;
  request.set_type(std::string(type.name));
  request.set_tenant(flags.tenant);
  request.set_id(flags.id);
  request.set_json(body.dump());
  grpc::ClientContext context;
  admin.Prepare(context);
  v1::Resource record;
  WEFT_RETURN_IF_ERROR(FromGrpc(admin.stub->UpdateResource(&context, request, &record)));
  PrintOne(record.json());
  return 0;
}

absl::StatusOr<int> Delete(const ResourceType& type, const ResourceFlags& flags) {
  WEFT_ASSIGN_OR_RETURN(const AdminConnection admin, ConnectAdmin(flags.admin));
  v1::DeleteResourceRequest request;
  request.set_type(std::string(type.name));
  request.set_tenant(flags.tenant);
  request.set_id(flags.id);
  grpc::ClientContext context;
  admin.Prepare(context);
  v1::DeleteResourceResponse response;
  WEFT_RETURN_IF_ERROR(FromGrpc(admin.stub->DeleteResource(&context, request, &response)));
  fmt::print("deleted {} {}\n", type.singular, flags.id);
  return 0;
}

}  // namespace

void AddResourceCommands(CLI::App& app, Commands& commands) {
  for (const ResourceType& type : store::ResourceTypes()) {
    auto flags = std::make_shared<ResourceFlags>();
    std::string name(type.singular);
    std::replace(name.begin(), name.end(), '_', '-');
    auto* group = app.add_subcommand(name, std::string(type.meaning));
    group->require_subcommand(1);
    std::string fields = "a field, name=value, more than once:";
    for (const store::ResourceField& field : type.fields) {
      if (field.rule != store::FieldRule::kServer) fields += fmt::format(" {}", field.name);
    }
    const auto add = [&](const char* verb, const char* help, bool body,
                         absl::StatusOr<int> (*run)(const ResourceType&, const ResourceFlags&)) {
      auto* command = group->add_subcommand(verb, help);
      if (type.name != "tenants") {
        command->add_option("--tenant", flags->tenant, "whose (default: one's own; *: all)");
      }
      if (body) {
        command->add_option("--set", flags->fields, fields);
        command->add_option("--file", flags->file, "a file with the fields as a JSON object");
        if (type.name == "users") {
          command->add_option("--password-file", flags->password_file,
                              "a file with the password in its first line");
        }
      }
      AddAdminFlags(command, flags->admin);
      commands.push_back({command, [flags, run, &type] { return run(type, *flags); }});
      return command;
    };
    add("list", "show all", false, &List)->add_flag("--json", flags->json, "for programs");
    add("show", "show one as JSON", false, &Show)
        ->add_option("id", flags->id, "its id")
        ->required();
    auto* create = add("create", "make one", true, &Create);
    if (!type.id_is_made || type.name == "users") {
      create->add_option("id", flags->id, type.name == "users" ? "its username" : "its id")
          ->required();
    }
    add("update", "change fields of one", true, &Update)
        ->add_option("id", flags->id, "its id")
        ->required();
    if (type.name != "tenants") {
      add("delete", "remove one", false, &Delete)
          ->add_option("id", flags->id, "its id")
          ->required();
    }
  }
}

}  // namespace weft::ctl
