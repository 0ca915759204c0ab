#include "services/worker/config.h"

#include <cstdlib>
#include <string_view>

#include "libs/base/status.h"
#include "libs/config/binder.h"
#include "libs/ops/open_device.h"

namespace weft::worker {

using namespace std::chrono_literals;

Config::Config() {
  server.max_message_bytes = uint64_t{32} << 20;
  server.drain_timeout = 25s;
  server.listen = {"unix:.weft/run/worker-0.sock"};
}

void Bind(config::Binder& b, Config& c) {
  rpc::Bind(b, c.server);
  b.Text("admin_listen", &c.admin_listen, "host:port of /metrics, /health and /ready", 3, 255);
  b.Text("worker_id", &c.worker_id, "name in logs and spans; empty: host name and process id", 0,
         200);
  b.Text("model", &c.model, "GGUF file or Hugging Face folder to serve");
  b.Text("model_id", &c.model_id,
         "the name clients use for `model`; empty: the file's general.name, else the name of the "
         "file or folder",
         0, 200);
  b.Objects<ModelEntry>("models", &c.models, 16, "more models, each with an engine of its own",
                        [](config::Binder& m, ModelEntry& entry) {
                          m.Text("path", &entry.path, "GGUF file or Hugging Face folder", 1);
                          m.Text("id", &entry.id, "the name clients use", 0, 200);
                        });
  b.Text("device", &c.device,
         "where models are computed: cpu, or cuda or cuda:N for the GPU of that number", 3, 32);
  b.Bytes("device_reserve_bytes", &c.device_reserve_bytes, 0, uint64_t{1} << 44,
          "memory of the GPU that is left free");
  b.Float("kv_memory_fraction", &c.kv_memory_fraction, 0.0, 1.0,
          "part of the GPU's memory that weights, steps and KV cache may take together: the cache "
          "gets what the others leave; 0, or with several models: kv_bytes");
  b.Choice<bool>("dtype", &c.weights_bf16, {{"auto", false}, {"bf16", true}},
                 "weights on a GPU: auto keeps the file's blocks where a kernel reads them, bf16 "
                 "converts them all");
  b.Choice<gpu::Numerics>(
      "numerics", &c.numerics, {{"exact", gpu::Numerics::kExact}, {"fast", gpu::Numerics::kFast}},
      "products on a GPU: exact gives a row the same bits whatever the batch, fast rounds as is "
      "quickest");
  b.Choice<std::string>("isa", &c.isa,
                        {{"auto", "auto"},
                         {"scalar", "scalar"},
                         {"avx2", "avx2"},
                         {"avx512", "avx512"},
                         {"amx", "amx"},
                         {"neon", "neon"},
                         {"neon_dot", "neon_dot"}},
                        "instruction set of the kernels");
  b.Int("threads", &c.threads, 0, 1024, "threads of one model's engine; 0 = one per core");
  b.Int("tensor_parallel", &c.parallel.tensor, 1, kMaxParallel,
        "ranks that share every layer of a model; they also share its threads");
  b.Int("pipeline_parallel", &c.parallel.pipeline, 1, kMaxParallel,
        "stages that layers are divided among, of tensor_parallel ranks each");
  b.Int("ranks", &c.ranks, 1, kMaxParallel,
        "processes that a model's ranks are: 1 (ranks are threads of this one), or tensor_parallel "
        "times pipeline_parallel");
  b.Int("rank", &c.rank, 0, kMaxParallel - 1,
        "which of them this process is; 0 has the sessions, the others follow it");
  b.Section("rendezvous", "How the processes of several ranks find each other.",
            [&](config::Binder& r) { Bind(r, c.rendezvous); });
  b.Int("max_sequences", &c.max_sequences, 1, 4096, "sequences that run at once");
  b.Int("token_budget", &c.token_budget, 1, 65'536,
        "tokens of one step, decode and prefill together");
  b.Duration("target_step", &c.target_step, 0ms, 60s,
             "prefill is cut into chunks so that a step takes about this long; 0 = no cutting");
  b.Bytes("kv_bytes", &c.kv_bytes, uint64_t{1} << 20, uint64_t{1} << 44,
          "memory for the KV cache of one model; on a GPU see kv_memory_fraction");
  b.Choice<DType>("kv_type", &c.kv_type,
                  {{"f16", DType::kF16},
                   {"bf16", DType::kBF16},
                   {"q8_0", DType::kQ8_0},
                   {"fp8", DType::kF8E4M3}},
                  "type of cached keys and values; q8_0 (of the CPU) and fp8 (e4m3, of a GPU) take "
                  "half the memory of f16");
  b.Bool("prefix_cache", &c.prefix_cache, "keep the KV blocks of prompts for later requests");
  b.Section("repack_cache",
            "Weights as the kernels want them, kept on disk: the next start maps them.",
            [&](config::Binder& r) {
              r.Text("folder", &c.repack_cache.folder,
                     "where they are kept, about as large as the model; empty: nowhere", 0, 4096);
              r.Bytes("max_bytes", &c.repack_cache.max_bytes, uint64_t{1} << 20, uint64_t{1} << 44,
                      "size of the folder; what was used longest ago is removed");
            });
  b.Duration("lease", &c.lease, 0ms, 10min,
             "how long the sequences of a broken session are kept running");
  b.Duration("hang_timeout", &c.hang_timeout, 1s, 1h,
             "an engine that has work and runs no layer for so long makes /health fail");
  b.Section("fault_injection",
            "Test only. Refused unless the environment holds WEFT_ALLOW_FAULT_INJECTION=1.",
            [&](config::Binder& f) {
              f.Text("crash_text", &c.fault_crash_text,
                     "abort when output is made for a prompt that holds this text", 0, 256);
              f.Int("crash_after_tokens", &c.fault_crash_after_tokens, 1, 1'000'000,
                    "abort at this output token of it");
              f.Text(
                  "hang_text", &c.fault_hang_text,
                  "stop the engine for ever when output is made for a prompt that holds this text",
                  0, 256);
              f.Int("hang_after_tokens", &c.fault_hang_after_tokens, 1, 1'000'000,
                    "stop it at this output token of it");
            });
}

absl::Status Config::Validate() const {
  WEFT_RETURN_IF_ERROR(Annotate(server.Validate(), "worker"));
  WEFT_RETURN_IF_ERROR(Annotate(CheckDeviceName(device), "worker"));
  if (server.listen.empty()) return InvalidArgument("worker.listen: give at least one address");
  WEFT_RETURN_IF_ERROR(Annotate(parallel.Validate(), "worker"));
  WEFT_RETURN_IF_ERROR(Annotate(ValidateRanks(), "worker"));
  if (kv_type == DType::kF8E4M3 && device == "cpu") {
    return InvalidArgument("worker.kv_type: fp8 is for worker.device cuda; the CPU has q8_0");
  }
  if (kv_type == DType::kQ8_0 && device != "cpu") {
    return InvalidArgument("worker.kv_type: q8_0 is for worker.device cpu; a GPU has fp8");
  }
  if (weights_bf16 && device == "cpu") {
    return InvalidArgument("worker.dtype: bf16 is for worker.device cuda; the CPU takes auto");
  }
  if (!fault_crash_text.empty() || !fault_hang_text.empty()) {
    const char* allowed = std::getenv("WEFT_ALLOW_FAULT_INJECTION");
    if (allowed == nullptr || std::string_view(allowed) != "1") {
      return InvalidArgument(
          "worker.fault_injection: for tests only; needs WEFT_ALLOW_FAULT_INJECTION=1");
    }
  }
  return absl::OkStatus();
}

absl::Status Config::ValidateRanks() const {
  if (rank >= ranks) return InvalidArgument("rank: {} of {} ranks", rank, ranks);
  if (ranks == 1) return absl::OkStatus();
  if (ranks != parallel.ranks()) {
    return InvalidArgument(
        "ranks: expected {} (tensor_parallel {} times pipeline_parallel {}), found {}",
        parallel.ranks(), parallel.tensor, parallel.pipeline, ranks);
  }
  if (device != "cpu") return InvalidArgument("ranks: {} processes are for device cpu", ranks);
  if (AllModels().size() != 1) {
    return InvalidArgument("model: {} processes serve one model", ranks);
  }
  return Annotate(rendezvous.Validate(), "rendezvous");
}

std::vector<ModelEntry> Config::AllModels() const {
  std::vector<ModelEntry> all;
  if (!model.empty()) all.push_back({model, model_id});
  all.insert(all.end(), models.begin(), models.end());
  return all;
}

}  // namespace weft::worker
