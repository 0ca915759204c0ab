// A process that speaks WorkerService over a paced engine: the worker's real session hub, no model.
#pragma once

#include <absl/status/status.h>

#include <string>

#include "bench/mesh/paced_engine.h"

namespace weft::bench {

struct SyntheticWorkerOptions {
  std::string listen;      // "unix:/tmp/w.sock" or host:port
  std::string model_path;  // a GGUF file: only its tokenizer is used
  std::string model_id = "synthetic";
  PacedOptions engine;
};

// Serves until SIGTERM or SIGINT.
absl::Status RunSyntheticWorker(const SyntheticWorkerOptions& options);

}  // namespace weft::bench
