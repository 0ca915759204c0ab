#include "libs/config/cli.h"
#include "libs/http/probe.h"
#include "libs/telemetry/telemetry.h"
#include "services/worker/config.h"
#include "services/worker/rank_server.h"
#include "services/worker/server.h"

int main(int argc, char** argv) {
  weft::worker::Config config;
  weft::telemetry::Config telemetry;
  return weft::config::ServiceMain(
      argc, argv,
      {.name = "weft-worker",
       .summary = "Serves models: tokens in, tokens out.",
       .shortcuts = {{"--device", "DEVICE", "worker.device"},
                     {"--tensor-parallel", "N", "worker.tensor_parallel"},
                     {"--pipeline-parallel", "N", "worker.pipeline_parallel"},
                     {"--rank", "N", "worker.rank"},
                     {"--ranks", "N", "worker.ranks"},
                     {"--rendezvous", "ADDRESS", "worker.rendezvous.address"},
                     {"--kv-memory-fraction", "N", "worker.kv_memory_fraction"},
                     {"--numerics", "MODE", "worker.numerics"},
                     {"--dtype", "TYPE", "worker.dtype"}},
       .declare =
           [&](weft::config::Schema& schema) {
             schema.Section("worker", "A worker.",
                            [&](weft::config::Binder& b) { Bind(b, config); });
             schema.Section("telemetry", "Logs, metrics and traces.",
                            [&](weft::config::Binder& b) { Bind(b, telemetry); });
           },
       .validate = [&] { return config.Validate(); },
       .run =
           [&] {
             return config.rank == 0 ? weft::worker::Run(config, telemetry)
                                     : weft::worker::RunRank(config, telemetry);
           },
       .check_health =
           [&](const std::string& url) {
             return weft::http::CheckHealth(config.admin_listen, url);
           }});
}
