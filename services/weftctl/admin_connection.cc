#include "services/weftctl/admin_connection.h"

#include <CLI/CLI.hpp>
#include <chrono>
#include <fstream>

#include "libs/base/clock.h"
#include "libs/base/status.h"
#include "services/weftctl/supervise/state.h"

namespace weft::ctl {

void AddAdminFlags(CLI::App* command, AdminFlags& flags) {
  command->add_option("--home", flags.home, "state directory (default: $WEFT_HOME, else .weft)");
  command->add_option("--address", flags.address, "the gateway's gRPC address");
  command->add_option("--key-file", flags.key_file, "file with an admin key");
}

void AdminConnection::Prepare(grpc::ClientContext& context) const {
  context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(30));
  context.AddMetadata("authorization", "Bearer " + key);
}

absl::StatusOr<AdminConnection> ConnectAdmin(const AdminFlags& flags) {
  std::string address = flags.address;
  std::string key_file = flags.key_file;
  if (address.empty() || key_file.empty()) {
    WEFT_ASSIGN_OR_RETURN(supervise::Home home, supervise::Home::Find(flags.home));
    const auto state = supervise::ReadState(home.StatePath());
    if (!state.ok() && address.empty()) {
      return FailedPrecondition("no mesh runs in {}; give --address", home.root);
    }
    if (address.empty()) address = state->grpc_address;
    if (key_file.empty()) key_file = state.ok() ? state->admin_key_file : home.AdminKeyPath();
  }
  std::ifstream file(key_file);
  AdminConnection admin;
  if (!std::getline(file, admin.key) || admin.key.empty()) {
    return FailedPrecondition("cannot read an admin key from {}", key_file);
  }
  grpc::ChannelArguments arguments;
  arguments.SetMaxReceiveMessageSize(-1);  // exports
  const auto channel =
      grpc::CreateCustomChannel(address, grpc::InsecureChannelCredentials(), arguments);
  admin.stub = v1::AdminService::NewStub(channel);
  admin.cache = v1::CacheService::NewStub(channel);
  return admin;
}

absl::Status FromGrpc(const grpc::Status& status) {
  if (status.ok()) return absl::OkStatus();
  return MakeStatus(static_cast<absl::StatusCode>(status.error_code()), status.error_message());
}

std::string ShownDate(int64_t unix_seconds) {
  if (unix_seconds == 0) return "never";
  return Rfc3339(WallTime(std::chrono::seconds(unix_seconds))).substr(0, 10);
}

}  // namespace weft::ctl
