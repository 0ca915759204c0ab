#include "services/scheduler/config.h"

#include "libs/base/status.h"
#include "libs/config/binder.h"

namespace weft::scheduler {

using namespace std::chrono_literals;

Config::Config() {
  server.max_message_bytes = uint64_t{32} << 20;
  server.listen = {"unix:.weft/run/scheduler.sock"};
}

void Bind(config::Binder& b, Config& c) {
  rpc::Bind(b, c.server);
  b.Text("admin_listen", &c.admin_listen, "host:port of /metrics, /health and /ready", 3, 255);
  b.List("workers", &c.workers, 1024,
         "worker addresses: unix:PATH, HOST:PORT, or dns:///NAME:PORT for all addresses of a name");
  b.Duration("dns_interval", &c.dns_interval, 1s, 1h, "how often dns:/// names are looked up");
  b.Section("worker_tls", "TLS towards the workers.",
            [&](config::Binder& tls) { rpc::BindClientTls(tls, c.worker_tls); });
  b.Duration("reconnect_min", &c.reconnect_min, 1ms, 60s,
             "first pause before a worker is dialled again");
  b.Duration("reconnect_max", &c.reconnect_max, 1ms, 10min,
             "longest pause before a worker is dialled again");
  b.Int("tokenizer_threads", &c.tokenizer_threads, 1, 64,
        "threads that render templates and tokenise");
  b.Int("tokenizer_queue", &c.tokenizer_queue, 1, 1'000'000,
        "prompts that may wait to be tokenised; beyond, requests are refused");

  DispatcherOptions& d = c.dispatcher;
  b.Int("max_batch_size", &d.max_batch_size, 1, 4096,
        "a worker with fewer sequences without a first token takes a request at once; while all "
        "have so many, requests gather until so many wait");
  b.Int("max_wait_ms", &c.max_wait_ms, 0, 10'000,
        "how long the first of the gathering requests waits at most, in milliseconds");
  b.Int("reserve_percent", &d.reserve_percent, 0, 50,
        "part of a worker's sequences and KV blocks that tenants leave to those who have less than "
        "an even part of it");
  b.Int("queue_capacity", &d.queue_capacity, 1, 1'000'000,
        "requests that wait; beyond, RESOURCE_EXHAUSTED with a time to retry");
  b.Int("queue_capacity_per_tenant", &d.queue_capacity_per_tenant, 1, 1'000'000,
        "requests of one tenant that wait");
  b.Duration("default_timeout", &d.default_timeout, 1ms, 24h, "for requests that name none");
  b.Duration("max_timeout", &d.max_timeout, 1ms, 24h, "longest time a request may ask for");
  b.Duration("no_worker_timeout", &d.no_worker_timeout, 0ms, 1h,
             "how long requests wait while no worker serves their model, before UNAVAILABLE");
  b.Duration("silent_timeout", &d.silent_timeout, 1500ms, 1h,
             "a worker that sends nothing for so long is lost (it reports every second)");
  b.Duration("stall_timeout", &d.stall_timeout, 1s, 1h,
             "a worker that has work and runs no layer for so long is lost");
  b.Duration("slow_gateway_timeout", &d.slow_gateway_timeout, 1s, 1h,
             "a gateway that reads nothing for so long is cut off");
  b.Int("redispatch_tokens", &d.redispatch_tokens, 64, 100'000'000,
        "tokens being prefilled again on one worker after the loss of another");
  b.Int("suspect_losses", &d.suspect_losses, 1, 100,
        "a request present at so many worker losses runs alone");
  b.Int("max_attempts", &d.max_attempts, 1, 1000, "workers that may be lost under one request");
  b.Bytes("max_prompt_bytes", &d.limits.max_prompt_bytes, 1, uint64_t{30} << 20,
          "longest prompt, or messages together");
}

absl::Status Config::Validate() const {
  WEFT_RETURN_IF_ERROR(Annotate(server.Validate(), "scheduler"));
  WEFT_RETURN_IF_ERROR(Annotate(worker_tls.Validate(false), "scheduler.worker_tls"));
  if (server.listen.empty()) return InvalidArgument("scheduler.listen: give at least one address");
  if (reconnect_min > reconnect_max) {
    return InvalidArgument("scheduler.reconnect_min: must not exceed reconnect_max");
  }
  if (dispatcher.default_timeout > dispatcher.max_timeout) {
    return InvalidArgument("scheduler.default_timeout: must not exceed max_timeout");
  }
  return absl::OkStatus();
}

DispatcherOptions Config::Dispatching() const {
  DispatcherOptions options = dispatcher;
  options.max_wait = std::chrono::milliseconds(max_wait_ms);
  return options;
}

}  // namespace weft::scheduler
