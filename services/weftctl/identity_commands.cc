// permissions: what may be permitted; hash-password: for gateway.identity.users.
#include <fmt/format.h>
#include <termios.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <iostream>
#include <string>

#include "libs/base/status.h"
#include "libs/identity/password.h"
#include "libs/identity/permission.h"
#include "services/weftctl/commands.h"

namespace weft::ctl {
namespace {

int ShowPermissions() {
  fmt::print("{:<20} {:<42} {}\n", "PERMISSION", "ROLES", "ALLOWS TO");
  for (const identity::PermissionInfo& row : identity::PermissionTable()) {
    const std::string roles = row.roles.empty() ? "admin" : fmt::format("admin {}", row.roles);
    fmt::print("{:<20} {:<42} {}\n", row.name, roles, row.meaning);
  }
  return 0;
}

// A line of standard input; a terminal does not show it.
std::string ReadSecret() {
  termios before{};
  const bool terminal = isatty(STDIN_FILENO) == 1 && tcgetattr(STDIN_FILENO, &before) == 0;
  if (terminal) {
    fmt::print(stderr, "password: ");
    termios silent = before;
    silent.c_lflag &= ~static_cast<tcflag_t>(ECHO);
    tcsetattr(STDIN_FILENO, TCSAFLUSH, &silent);
  }
  std::string line;
  std::getline(std::cin, line);
  if (terminal) {
    tcsetattr(STDIN_FILENO, TCSAFLUSH, &before);
    fmt::print(stderr, "\n");
  }
  return line;
}

absl::StatusOr<int> PrintHash() {
  const std::string password = ReadSecret();
  WEFT_RETURN_IF_ERROR(identity::CheckPassword(password));
  fmt::print("{}\n", identity::HashPassword(password));
  return 0;
}

}  // namespace

void AddIdentityCommands(CLI::App& app, Commands& commands) {
  auto* permissions =
      app.add_subcommand("permissions", "what may be permitted, and which roles have it");
  commands.push_back({permissions, [] { return ShowPermissions(); }});
  auto* hash = app.add_subcommand("hash-password",
                                  "read a password from standard input, print what is kept of it");
  commands.push_back({hash, &PrintHash});
}

}  // namespace weft::ctl
