// The `worker` section of the configuration.
#pragma once

#include <absl/status/status.h>

#include <chrono>
#include <cstdint>
#include <string>
#include <vector>

#include "libs/model/repack_cache.h"
#include "libs/model/shard.h"
#include "libs/ops/matmul_tiled_gpu.h"
#include "libs/rpc/server.h"
#include "libs/tensor/dtype.h"
#include "services/worker/rendezvous.h"

namespace weft::config {
class Binder;
}

namespace weft::worker {

struct ModelEntry {
  std::string path;  // a GGUF file or a Hugging Face folder
  std::string id;    // the name clients use; empty: the file's general.name, else its file name
};

struct Config {
  rpc::ServerOptions server;
  std::string admin_listen = "127.0.0.1:9102";
  std::string worker_id;  // empty: host name and process id

  // One model, or several; each has an engine and a KV cache of its own.
  std::string model;
  std::string model_id;
  std::vector<ModelEntry> models;

  std::string device = "cpu";  // or cuda, cuda:N
  uint64_t device_reserve_bytes = uint64_t{512} << 20;
  double kv_memory_fraction = 0.9;  // of a GPU's memory; 0: kv_bytes counts there too
  bool weights_bf16 = false;        // of a GPU
  gpu::Numerics numerics = gpu::Numerics::kExact;
  std::string isa = "auto";
  int32_t threads = 0;  // 0 = one per core
  Parallelism parallel;
  // Above 1: as many processes as ranks, of which this one is `rank`. 1: ranks are threads.
  int32_t ranks = 1;
  int32_t rank = 0;
  RendezvousOptions rendezvous;
  int32_t max_sequences = 64;
  int32_t token_budget = 512;
  std::chrono::milliseconds target_step{250};
  uint64_t kv_bytes = uint64_t{512} << 20;
  DType kv_type = DType::kF16;
  bool prefix_cache = true;
  RepackCacheOptions repack_cache;
  std::chrono::milliseconds lease{5'000};
  std::chrono::milliseconds hang_timeout{30'000};

  // Test only: the process aborts when it makes output for a prompt that holds this text. Refused
  // unless the environment holds WEFT_ALLOW_FAULT_INJECTION=1.
  std::string fault_crash_text;
  uint32_t fault_crash_after_tokens = 1;
  std::string fault_hang_text;
  uint32_t fault_hang_after_tokens = 1;

  Config();
  absl::Status Validate() const;
  absl::Status ValidateRanks() const;
  // `model` and `models` together.
  std::vector<ModelEntry> AllModels() const;
};

void Bind(config::Binder& binder, Config& config);

}  // namespace weft::worker
