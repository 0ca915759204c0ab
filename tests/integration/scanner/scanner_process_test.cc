// weft-scanner as a process: configuration, health, SIGTERM.
#include <grpcpp/grpcpp.h>
#include <signal.h>

#include <chrono>
#include <filesystem>
#include <fstream>
#include <string>
#include <thread>
#include <vector>

#include "libs/base/ids.h"
#include "tests/support/catch.h"
#include "tests/support/process.h"
#include "weft/v1/scanner.grpc.pb.h"

namespace weft::scanner {
namespace {

using namespace std::chrono_literals;

using testing::Process;

constexpr std::chrono::seconds kEnd{60};

std::vector<std::string> Scanner(std::vector<std::string> arguments) {
  arguments.insert(arguments.begin(), WEFT_SCANNER_BINARY);
  return arguments;
}

struct Directory {
  std::filesystem::path path =
      std::filesystem::temp_directory_path() / ("weft-scanner-" + NewRequestId());
  Directory() { std::filesystem::create_directories(path); }
  ~Directory() { std::filesystem::remove_all(path); }
  std::string File(const std::string& name) const { return (path / name).string(); }
  std::string Read(const std::string& name) const {
    std::ifstream in(path / name);
    return {std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
  }
};

TEST_CASE("weft-scanner serves on its socket and ends in order on SIGTERM", "[scanner]") {
  const Directory directory;
  std::ofstream(directory.File("own.yaml")) << R"(rules:
  - {id: own.rule, type: own, category: code, severity: low, message: m, pattern: 'forbidden',
     kinds: [code], bad: [forbidden]}
)";
  const std::string socket = "unix:" + directory.File("s.sock");
  Process process(Scanner({"--set", "scanner.listen=[\"" + socket + "\"]", "--set",
                           "scanner.admin_listen=127.0.0.1:0", "--set",
                           "scanner.rules_directory=" + directory.path.string(), "--set",
                           "telemetry.traces.enabled=false"}),
                  directory.File("log"));
  const auto channel = grpc::CreateChannel(socket, grpc::InsecureChannelCredentials());
  REQUIRE(channel->WaitForConnected(std::chrono::system_clock::now() + 30s));
  const auto stub = v1::ScannerService::NewStub(channel);
  v1::ScanTextRequest request;
  request.set_kind(v1::TEXT_KIND_CODE);
  request.set_text("this is forbidden\neval(x)\n");
  v1::ScanTextResponse response;
  grpc::ClientContext context;
  context.set_wait_for_ready(true);
  context.set_deadline(std::chrono::system_clock::now() + 30s);
  const grpc::Status status = stub->ScanText(&context, request, &response);
  INFO(status.error_message());
  REQUIRE(status.ok());
  REQUIRE(response.findings_size() == 2);
  CHECK(response.findings(0).rule() == "own.rule");
  process.Signal(SIGTERM);
  const auto code = process.Wait(kEnd);
  INFO(directory.Read("log"));
  CHECK(code == 0);
}

TEST_CASE("weft-scanner refuses a bad configuration with exit code 2", "[scanner]") {
  const Directory directory;
  Process process(Scanner({"--set", "scanner.window_bytes=1"}), directory.File("log"));
  CHECK(process.Wait(kEnd) == 2);
  CHECK(directory.Read("log").find("window_bytes") != std::string::npos);
}

TEST_CASE("weft-scanner names the rule that it cannot load", "[scanner]") {
  const Directory directory;
  std::ofstream(directory.File("own.yaml")) << "rules:\n  - {id: own}\n";
  Process process(Scanner({"--set", "scanner.listen=[\"unix:" + directory.File("s.sock") + "\"]",
                           "--set", "scanner.admin_listen=127.0.0.1:0", "--set",
                           "scanner.rules_directory=" + directory.path.string(), "--set",
                           "telemetry.traces.enabled=false"}),
                  directory.File("log"));
  CHECK(process.Wait(kEnd) == 1);
  CHECK(directory.Read("log").find("own.yaml:2") != std::string::npos);
}

}  // namespace
}  // namespace weft::scanner
