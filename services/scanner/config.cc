#include "services/scanner/config.h"

#include "libs/base/status.h"
#include "libs/config/binder.h"

namespace weft::scanner {

using namespace std::chrono_literals;

Config::Config() {
  server.listen = {"unix:.weft/run/scanner.sock"};
  server.max_message_bytes = uint64_t{8} << 20;
}

void Bind(config::Binder& b, Config& c) {
  rpc::Bind(b, c.server);
  b.Text("admin_listen", &c.admin_listen, "host:port of /metrics, /health and /ready", 3, 255);
  b.Text("rules_directory", &c.rules_directory,
         "*.yaml files with rules that are added to the built-in ones, or replace them by id");
  b.List("disabled_rules", &c.disabled_rules, 1000, "ids of rules that are left out");
  b.Int("window_bytes", &c.window_bytes, 64, 65'536,
        "a match of at most this length is always found; text is held back for at most twice this");
  b.Int("threads", &c.threads, 0, 1024, "threads that scan; 0 = one per core");
  Limits& l = c.limits;
  b.Bytes("max_text_bytes", &l.max_text_bytes, 1, uint64_t{1} << 30, "text of one ScanText");
  b.Int("max_pending_scans", &l.max_pending_scans, 1, 1'000'000,
        "ScanText calls that wait or run; further ones get RESOURCE_EXHAUSTED");
  b.Int("max_sessions", &l.max_sessions, 1, 65'536, "ScanStream calls at once");
  b.Int("max_open_streams", &l.max_open_streams, 1, 1'000'000, "open handles of one session");
  b.Bytes("max_stream_bytes", &l.max_stream_bytes, 1, uint64_t{1} << 40, "text of one handle");
  b.Bytes("max_pending_bytes", &l.max_pending_bytes, 1024, uint64_t{1} << 40,
          "frames of one session that wait to be scanned; more end the session");
  b.Int("max_findings", &l.max_findings, 1, 100'000,
        "findings reported for one text; further ones are only said to be there");
}

absl::Status Config::Validate() const {
  WEFT_RETURN_IF_ERROR(Annotate(server.Validate(), "scanner"));
  if (server.listen.empty()) return InvalidArgument("scanner.listen: give at least one address");
  if (limits.max_text_bytes + 65'536 > server.max_message_bytes) {
    return InvalidArgument(
        "scanner.max_text_bytes: {} does not fit into a message of max_message_bytes {}, which "
        "must "
        "be at least 65536 larger",
        limits.max_text_bytes, server.max_message_bytes);
  }
  return absl::OkStatus();
}

}  // namespace weft::scanner
