// Speed of one model's forward steps, without engine or sampling.
//
//   model_bench MODEL.gguf [prefill=512] [decode=128] [batch=1,4,16] [threads=2] [isa=auto]
//   [chunk=512] [repetitions=1] [context=N]
//
// A context beyond the model's own is for measurements alone. Prints one JSON object. Prefill:
// tokens per second of one prompt, in chunks. Decode: after a prompt of 16, one token per step.
// Batch: n sequences of such prompts that decode 32 tokens together. Of several repetitions the
// best one counts.
#include <sys/resource.h>
#include <time.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <string_view>
#include <vector>

#include "libs/base/status.h"
#include "libs/model/model.h"

namespace weft {
namespace {

struct Options {
  std::string path;
  int32_t prefill = 512;
  int32_t decode = 128;
  std::vector<int32_t> batches = {1, 4, 16};
  int32_t threads = 2;
  std::string isa = "auto";
  int32_t chunk = 512;
  int32_t repetitions = 1;
  int32_t context = 0;
};

// Decoding starts from a context that is short but not empty.
constexpr int32_t kDecodePrompt = 16;
constexpr int32_t kBatchDecode = 32;

double Now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

// Processor time of all threads: on a busy machine it tells more than the wall clock.
double CpuNow() {
  timespec now{};
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec);
}

struct Elapsed {
  double wall = 0;
  double cpu = 0;
  double fork_joins = 0;
  void KeepBest(const Elapsed& other) {
    if (wall == 0 || other.wall < wall) *this = other;
  }
  Elapsed& operator+=(const Elapsed& other) {
    wall += other.wall;
    cpu += other.cpu;
    fork_joins += other.fork_joins;
    return *this;
  }
};

// Sequences of the same length in consecutive pages, advanced together.
class Runner {
 public:
  Runner(Model& model, int32_t sequences, int32_t tokens) : model_(model), tables_(sequences) {
    const int32_t blocks = (tokens + kBlockTokens - 1) / kBlockTokens;
    const absl::Status status = model.AllocateKv(sequences * blocks, kBlockTokens);
    if (!status.ok()) Fail(status);
    for (int32_t s = 0; s < sequences; ++s) {
      for (int32_t b = 0; b < blocks; ++b) tables_[s].push_back(s * blocks + b);
    }
    logits_.resize(static_cast<size_t>(sequences) * model.config().vocab);
  }

  [[noreturn]] static void Fail(const absl::Status& status) {
    std::fprintf(stderr, "%s\n", ToString(status).c_str());
    std::exit(1);
  }

  // Every sequence gets `rows` more tokens; logits of the last ones.
  Elapsed Step(int32_t rows) {
    StepBatch batch;
    for (std::vector<int32_t>& table : tables_) {
      batch.sequences.push_back(
          {batch.rows(), rows, table.data(), static_cast<int32_t>(table.size()), length_ + rows});
      for (int32_t i = 0; i < rows; ++i) {
        const int32_t position = length_ + i;
        batch.tokens.push_back((position * 7919 + 13) % model_.config().vocab);
        batch.positions.push_back(position);
        batch.cache_slots.push_back(table[position / kBlockTokens] * kBlockTokens +
                                    position % kBlockTokens);
        batch.wants_logits.push_back(i + 1 == rows ? 1 : 0);
      }
    }
    const double begin = Now();
    const double cpu_begin = CpuNow();
    const uint64_t fork_joins = model_.fork_joins();
    const absl::Status status = model_.Forward(batch, logits_);
    if (!status.ok()) Fail(status);
    length_ += rows;
    return {Now() - begin, CpuNow() - cpu_begin,
            static_cast<double>(model_.fork_joins() - fork_joins)};
  }

 private:
  Model& model_;
  std::vector<std::vector<int32_t>> tables_;
  std::vector<float> logits_;
  int32_t length_ = 0;
};

std::vector<int32_t> ParseList(const std::string& text) {
  std::vector<int32_t> out;
  size_t begin = 0;
  while (begin < text.size()) {
    out.push_back(std::atoi(text.c_str() + begin));
    const size_t comma = text.find(',', begin);
    if (comma == std::string::npos) break;
    begin = comma + 1;
  }
  return out;
}

// `n` sequences that decode `tokens` each.
Elapsed Decode(Model& model, int32_t n, int32_t tokens) {
  Runner runner(model, n, kDecodePrompt + tokens);
  runner.Step(kDecodePrompt);
  Elapsed taken;
  for (int i = 0; i < tokens; ++i) taken += runner.Step(1);
  return taken;
}

int Run(const Options& options) {
  const double load_begin = Now();
  absl::StatusOr<std::unique_ptr<Model>> loaded =
      Model::Load(options.path, {.isa = options.isa,
                                 .threads = options.threads,
                                 .context_length = options.context,
                                 .extend_context = options.context > 0});
  if (!loaded.ok()) Runner::Fail(loaded.status());
  Model& model = **loaded;
  const double load_seconds = Now() - load_begin;
  const uint64_t weights_bytes = model.memory_bytes();  // before there are pages or activations
  {
    Runner warm(model, 1, 64);
    warm.Step(32);
    for (int i = 0; i < 8; ++i) warm.Step(1);
  }
  Elapsed prefill;
  Elapsed decode;
  std::vector<Elapsed> together(options.batches.size());
  for (int i = 0; i < options.repetitions; ++i) {
    Elapsed taken;
    {
      Runner runner(model, 1, options.prefill);
      for (int32_t done = 0; done < options.prefill; done += options.chunk) {
        taken += runner.Step(std::min(options.chunk, options.prefill - done));
      }
    }
    prefill.KeepBest(taken);
    decode.KeepBest(Decode(model, 1, options.decode));
    for (size_t j = 0; j < together.size(); ++j) {
      together[j].KeepBest(Decode(model, options.batches[j], kBatchDecode));
    }
  }
  std::string batches;
  for (size_t j = 0; j < together.size(); ++j) {
    batches +=
        fmt::format("{}{{\"n\":{},\"tok_s\":{:.1f},\"fork_joins\":{:.0f}}}", j == 0 ? "" : ",",
                    options.batches[j], kBatchDecode * options.batches[j] / together[j].wall,
                    together[j].fork_joins / kBatchDecode);
  }
  // Fork-joins are of one forward step.
  const double steps = (options.prefill + options.chunk - 1) / options.chunk;
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  std::printf("%s\n",
              fmt::format("{{\"isa\":\"{}\",\"threads\":{},\"load_s\":{:.3f},\"prefill\":{},"
                          "\"prefill_tok_s\":{:.1f},\"prefill_tok_per_cpu_s\":{:.1f},"
                          "\"prefill_fork_joins\":{:.0f},\"decode\":{},"
                          "\"decode_tok_s\":{:.1f},\"decode_tok_per_cpu_s\":{:.1f},"
                          "\"decode_fork_joins\":{:.0f},"
                          "\"batch\":[{}],\"weights_bytes\":{},\"peak_rss_bytes\":{}}}",
                          model.isa(), model.threads(), load_seconds, options.prefill,
                          options.prefill / prefill.wall, options.prefill / prefill.cpu,
                          prefill.fork_joins / steps, options.decode, options.decode / decode.wall,
                          options.decode / decode.cpu, decode.fork_joins / options.decode, batches,
                          weights_bytes, usage.ru_maxrss * 1024)
                  .c_str());
  return 0;
}

}  // namespace
}  // namespace weft

int main(int argc, char** argv) {
  weft::Options options;
  for (int i = 1; i < argc; ++i) {
    const std::string_view arg = argv[i];
    const size_t equals = arg.find('=');
    const std::string value(equals == std::string_view::npos ? "" : arg.substr(equals + 1));
    const std::string_view key = arg.substr(0, equals);
    if (equals == std::string_view::npos) {
      options.path = arg;
    } else if (key == "prefill") {
      options.prefill = std::atoi(value.c_str());
    } else if (key == "decode") {
      options.decode = std::atoi(value.c_str());
    } else if (key == "batch") {
      options.batches = weft::ParseList(value);
    } else if (key == "threads") {
      options.threads = std::atoi(value.c_str());
    } else if (key == "isa") {
      options.isa = value;
    } else if (key == "repetitions") {
      options.repetitions = std::atoi(value.c_str());
    } else if (key == "context") {
      options.context = std::atoi(value.c_str());
    } else if (key == "chunk") {
      options.chunk = std::atoi(value.c_str());
    } else {
      std::fprintf(stderr, "unknown argument %s\n", argv[i]);
      return 2;
    }
  }
  if (options.path.empty() || options.prefill < 1 || options.decode < 1 || options.chunk < 1 ||
      options.repetitions < 1 || options.context < 0) {
    std::fprintf(stderr,
                 "usage: model_bench MODEL.gguf [prefill=N] [decode=N] [batch=N,N] [threads=N] "
                 "[isa=NAME] [chunk=N] [repetitions=N] [context=N]\n");
    return 2;
  }
  return weft::Run(options);
}
