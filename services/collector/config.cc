#include "services/collector/config.h"

#include "libs/base/status.h"
#include "libs/config/binder.h"

namespace weft::collector {
namespace {

using std::chrono::hours;
using std::chrono::milliseconds;
using std::chrono::seconds;

void BindLimits(config::Binder& binder, spans::Limits& limits) {
  binder.Int("attributes", &limits.attributes, 1, 10'000,
             "of a resource, scope, span, event or link; more are dropped and counted");
  binder.Int("events", &limits.events, 1, 100'000, "of a span");
  binder.Int("links", &limits.links, 1, 100'000, "of a span");
  binder.Int("text_bytes", &limits.text_bytes, 16, 1 << 20, "of one value; longer ones are cut");
  binder.Int("name_bytes", &limits.name_bytes, 16, 65'536, "of a name or key");
  binder.Int("array_items", &limits.array_items, 1, 100'000, "of a list value");
  binder.Int("depth", &limits.depth, 1, 32, "of nested values");
}

void BindBatch(config::Binder& binder, spans::BatcherOptions& batch) {
  binder.Int("max_spans", &batch.max_spans, 1, 100'000, "spans in a batch");
  binder.Int("max_bytes", &batch.max_bytes, 4096, 1 << 30,
             "bytes in a batch; gRPC receivers take 4 MiB by default");
  binder.Duration("max_wait", &batch.max_wait, milliseconds(0), hours(1),
                  "longest wait for a batch to fill");
}

void BindDiskQueue(config::Binder& binder, spans::SegmentLogOptions& queue) {
  binder.Text(
      "directory", &queue.directory,
      "folder of the accepted spans, of one collector alone; empty = they are in memory only "
      "and a crash loses them");
  binder.Bytes("max_bytes", &queue.max_bytes, 1 << 20, uint64_t{1} << 44,
               "most that it may hold; beyond, clients are told to send again later");
  binder.Bytes("segment_bytes", &queue.segment_bytes, 64 << 10, 1 << 30,
               "size of one file; room is given back file by file");
  binder.Choice(
      "fsync", &queue.fsync,
      {{"always", spans::FsyncPolicy::kAlways},
       {"interval", spans::FsyncPolicy::kInterval},
       {"never", spans::FsyncPolicy::kNever}},
      "when spans must be on the disk itself: always = before they are accepted; the others "
      "survive a crash of the process, but not of the machine");
  binder.Duration("fsync_interval", &queue.fsync_interval, milliseconds(10), hours(1),
                  "for fsync: interval");
}

void BindExport(config::Binder& binder, Config& config) {
  spans::ExportOptions& options = config.export_options;
  binder.Text("endpoint", &config.destination.target,
              "OTLP gRPC address that spans are sent on to, e.g. Jaeger's; empty: none");
  binder.Int("queue_batches", &options.queue_batches, 1, 100'000, "batches waiting to be sent");
  binder.Int("senders", &options.senders, 1, 64, "batches in flight");
  binder.Duration("timeout", &options.timeout, milliseconds(10), hours(1), "of one attempt");
  binder.Duration("initial_backoff", &options.backoff.initial, milliseconds(1), hours(1),
                  "wait before the second attempt; it doubles, with 20 % jitter");
  binder.Duration("max_backoff", &options.backoff.maximum, milliseconds(1), hours(1),
                  "longest wait between two attempts");
  binder.Duration("give_up", &options.give_up, seconds(0), hours(24),
                  "a batch is dropped, and counted, after this long; 0: never");
  binder.Section("tls", "transport security to the endpoint",
                 [&](config::Binder& tls) { rpc::BindClientTls(tls, config.destination.tls); });
}

}  // namespace

Config::Config() {
  grpc.listen = {"127.0.0.1:4317"};
  grpc.max_concurrent_streams = 256;
  disk_queue.directory = ".weft/spans";
}

absl::Status Config::Validate() const {
  rpc::ServerOptions server = grpc;
  WEFT_RETURN_IF_ERROR(Annotate(server.Validate(), "collector.otlp_grpc"));
  if (max_request_bytes > memory_limit_bytes) {
    return InvalidArgument(
        "collector.max_request_bytes: {} is more than memory_limit_bytes ({}), so the largest "
        "requests could never be taken",
        max_request_bytes, memory_limit_bytes);
  }
  if (!disk_queue.directory.empty() && (disk_queue.segment_bytes > disk_queue.max_bytes / 2 ||
                                        max_request_bytes > disk_queue.max_bytes / 2)) {
    return InvalidArgument(
        "collector.disk_queue.max_bytes: {} is less than twice segment_bytes ({}) or "
        "max_request_bytes ({})",
        disk_queue.max_bytes, disk_queue.segment_bytes, max_request_bytes);
  }
  if (export_options.backoff.initial > export_options.backoff.maximum) {
    return InvalidArgument("collector.export.initial_backoff: more than max_backoff");
  }
  return Annotate(destination.tls.Validate(false), "collector.export");
}

void Bind(config::Binder& binder, Config& config) {
  binder.List("otlp_grpc_listen", &config.grpc.listen, 16,
              "addresses of OTLP over gRPC: host:port or unix:path");
  binder.Text("otlp_http_listen", &config.otlp_http_listen,
              "address of OTLP over HTTP, host:port; empty: off");
  binder.Text("admin_listen", &config.admin_listen, "host:port of /metrics, /health and /ready", 1);
  binder.Text("file", &config.file, "also append every batch to this file, as lines of OTLP JSON");
  binder.Bytes("max_request_bytes", &config.max_request_bytes, 1024, 1 << 30,
               "largest request, unpacked");
  binder.Bytes("memory_limit_bytes", &config.memory_limit_bytes, 1 << 20, uint64_t{1} << 40,
               "spans held at once; beyond, clients are told to send again later");
  binder.Duration("drain_timeout", &config.drain_timeout, seconds(0), hours(1),
                  "after SIGTERM, how long spans may take to be sent on");
  binder.Section("limits", "what one span may hold",
                 [&](config::Binder& inner) { BindLimits(inner, config.limits); });
  binder.Section("batch", "how spans are joined before they are sent on",
                 [&](config::Binder& inner) { BindBatch(inner, config.batch); });
  binder.Section("disk_queue", "where accepted spans outlive a crash until they are sent on",
                 [&](config::Binder& inner) { BindDiskQueue(inner, config.disk_queue); });
  binder.Section("export", "where spans are sent on to",
                 [&](config::Binder& inner) { BindExport(inner, config); });
  binder.Section("tls", "transport security of OTLP over gRPC",
                 [&](config::Binder& inner) { rpc::BindServerTls(inner, config.grpc.tls); });
}

}  // namespace weft::collector
