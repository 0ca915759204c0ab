// run, bench: a model file on this machine, without a mesh.
#include <signal.h>

#include <CLI/CLI.hpp>
#include <atomic>
#include <cstdio>
#include <iostream>
#include <iterator>
#include <memory>
#include <nlohmann/json.hpp>

#include "libs/base/ids.h"
#include "libs/base/status.h"
#include "libs/engine/bench.h"
#include "libs/engine/engine.h"
#include "libs/engine/generate.h"
#include "libs/model/model.h"
#include "libs/model/parallel_model.h"
#include "libs/tokenizer/chat_template.h"
#include "libs/tokenizer/model_metadata.h"
#include "libs/tokenizer/stream_detokenizer.h"
#include "libs/tokenizer/tokenizer.h"
#include "services/weftctl/commands.h"

namespace weft::ctl {
namespace {

struct RunFlags {
  std::string model;
  std::string prompt;
  std::string system;
  std::string isa = "auto";
  std::string kv_type = "f16";
  std::string repack_cache;
  uint32_t max_tokens = 256;
  float temperature = 0.7F;
  float top_p = 0.9F;
  uint32_t top_k = 0;
  float min_p = 0.0F;
  float repetition_penalty = 1.0F;
  int threads = 0;
  Parallelism parallel;
  std::optional<uint64_t> seed;
  bool raw = false;
  bool chat = false;
  bool quiet = false;
};

// Of a name that --kv-type takes.
DType KvType(const std::string& name) {
  if (name == "bf16") return DType::kBF16;
  return name == "q8_0" ? DType::kQ8_0 : DType::kF16;
}

std::atomic<bool> interrupted{false};

// Token ids of the prompt, and whether the model's template was used.
absl::StatusOr<std::vector<int32_t>> PreparePrompt(const Tokenizer& tokenizer,
                                                   const RunFlags& flags) {
  std::string text = flags.prompt;
  if (text == "-") text.assign(std::istreambuf_iterator<char>(std::cin), {});
  const bool chat = flags.chat || (!flags.raw && !tokenizer.chat_template().empty());
  if (!chat) return tokenizer.Encode(text, {.add_special = true});
  if (tokenizer.chat_template().empty()) {
    return FailedPrecondition("{} has no chat template: use --raw", flags.model);
  }
  WEFT_ASSIGN_OR_RETURN(ChatTemplate chat_template, ChatTemplate::Parse(tokenizer.chat_template()));
  nlohmann::ordered_json messages = nlohmann::ordered_json::array();
  if (!flags.system.empty()) messages.push_back({{"role", "system"}, {"content", flags.system}});
  messages.push_back({{"role", "user"}, {"content", text}});
  ChatRenderOptions options;
  if (tokenizer.bos() >= 0) options.bos_token = tokenizer.TokenBytes(tokenizer.bos());
  if (tokenizer.eos() >= 0) options.eos_token = tokenizer.TokenBytes(tokenizer.eos());
  WEFT_ASSIGN_OR_RETURN(const MarkedText rendered, chat_template.RenderMarked(messages, options));
  return tokenizer.Encode(
      rendered.text(), {.add_special = false, .parse_special = true, .literal = rendered.caller()});
}

void Print(const std::string& text) {
  std::fwrite(text.data(), 1, text.size(), stdout);
  std::fflush(stdout);
}

absl::StatusOr<int> Run(const RunFlags& flags) {
  WEFT_ASSIGN_OR_RETURN(auto metadata, OpenModelMetadata(flags.model));
  WEFT_ASSIGN_OR_RETURN(std::shared_ptr<const Tokenizer> tokenizer, Tokenizer::FromGguf(*metadata));
  engine::WorkItem item;
  WEFT_ASSIGN_OR_RETURN(item.prompt, PreparePrompt(*tokenizer, flags));
  ModelOptions model_options;
  model_options.threads = flags.threads;
  model_options.isa = flags.isa;
  model_options.kv_type = KvType(flags.kv_type);
  model_options.repack_cache.folder = flags.repack_cache;
  engine::EngineOptions engine_options;
  engine_options.max_sequences = 1;
  model_options.memory = MemoryPlan{.kv_bytes = engine_options.kv_bytes,
                                    .sequences = engine_options.max_sequences,
                                    .step_rows = engine_options.token_budget};
  std::unique_ptr<ModelRunner> model;
  if (flags.parallel.ranks() > 1) {
    WEFT_ASSIGN_OR_RETURN(
        model, ParallelModel::Load(flags.model, model_options, {.group = flags.parallel}));
  } else {
    WEFT_ASSIGN_OR_RETURN(model, Model::Load(flags.model, model_options));
  }
  engine_options.prefix_cache = false;
  WEFT_ASSIGN_OR_RETURN(std::unique_ptr<engine::Engine> engine,
                        engine::Engine::Create(std::move(model), engine_options));
  engine::SamplingParams& sampling = item.sampling;
  sampling.temperature = flags.temperature;
  sampling.top_p = flags.top_p;
  sampling.top_k = flags.top_k;
  sampling.min_p = flags.min_p;
  sampling.repetition_penalty = flags.repetition_penalty;
  sampling.max_tokens = flags.max_tokens;
  sampling.seed = flags.seed ? *flags.seed : RandomU64();
  sampling.stop_token_ids = tokenizer->end_of_generation_ids();

  signal(SIGINT, [](int) { interrupted = true; });
  StreamDetokenizer text(tokenizer);
  WEFT_ASSIGN_OR_RETURN(const engine::GenerateResult result,
                        engine::Generate(*engine, std::move(item), [&](int32_t token) {
                          Print(text.Append(token));
                          return !interrupted;
                        }));
  Print(text.Flush() + "\n");
  if (!flags.quiet) {
    const auto rate = [](double tokens, double seconds) {
      return seconds > 0 ? tokens / seconds : 0.0;
    };
    const double decoded = static_cast<double>(result.tokens.size()) - 1;
    fmt::print(stderr, "[{}: {} prompt tokens at {:.0f}/s, {} tokens at {:.1f}/s, seed {}]\n",
               engine::FinishReasonName(result.reason), result.prompt_tokens,
               rate(result.prompt_tokens, result.prefill_seconds), result.tokens.size(),
               rate(decoded, result.decode_seconds), sampling.seed);
  }
  return result.reason == engine::FinishReason::kCancelled ? 130 : 0;
}

struct BenchFlags {
  std::string model;
  std::string kv_type = "f16";
  engine::BenchOptions options;
  bool json = false;
};

absl::StatusOr<int> Bench(const BenchFlags& flags) {
  engine::BenchOptions options = flags.options;
  options.kv_type = KvType(flags.kv_type);
  WEFT_ASSIGN_OR_RETURN(const engine::BenchResult result, engine::RunBench(flags.model, options));
  if (flags.json) {
    nlohmann::ordered_json batch = nlohmann::ordered_json::array();
    for (const auto& entry : result.batch) {
      batch.push_back({{"n", entry.n}, {"tok_s", entry.tok_s}});
    }
    const nlohmann::ordered_json out = {{"model", result.model},
                                        {"isa", result.isa},
                                        {"threads", result.threads},
                                        {"kv_type", flags.kv_type},
                                        {"load_seconds", result.load_seconds},
                                        {"prefill_tokens", flags.options.prefill},
                                        {"decode_tokens", flags.options.decode},
                                        {"prefill_tok_s", result.prefill_tok_s},
                                        {"decode_tok_s", result.decode_tok_s},
                                        {"batch", std::move(batch)},
                                        {"peak_rss_bytes", result.peak_rss_bytes}};
    fmt::print("{}\n", out.dump(1));
    return 0;
  }
  fmt::print("{} on {} with {} threads\n", result.model, result.isa, result.threads);
  fmt::print("load    {:>8.2f} s\n", result.load_seconds);
  fmt::print("prefill {:>8.1f} tok/s  ({} tokens)\n", result.prefill_tok_s, flags.options.prefill);
  fmt::print("decode  {:>8.1f} tok/s  ({} tokens)\n", result.decode_tok_s, flags.options.decode);
  for (const auto& entry : result.batch) {
    fmt::print("batch {:<3} {:>6.1f} tok/s\n", entry.n, entry.tok_s);
  }
  fmt::print("peak    {:>8.1f} MiB resident\n",
             static_cast<double>(result.peak_rss_bytes) / (1024.0 * 1024.0));
  return 0;
}

void AddKvType(CLI::App* command, std::string* type) {
  command->add_option("--kv-type", *type, "type of cached keys and values: f16, bf16 or q8_0")
      ->check(CLI::IsMember({"f16", "bf16", "q8_0"}));
}

void AddRepackCache(CLI::App* command, std::string* folder) {
  command->add_option("--repack-cache", *folder,
                      "folder that keeps the repacked weights for the next start (default: none)");
}

}  // namespace

void AddEngineCommands(CLI::App& app, Commands& commands) {
  auto run_flags = std::make_shared<RunFlags>();
  RunFlags& r = *run_flags;
  auto* run = app.add_subcommand("run", "continue a prompt with a model file; the text streams");
  run->add_option("model", r.model, "GGUF file or Hugging Face folder")->required();
  run->add_option("-p,--prompt", r.prompt, "what to say; - reads stdin")->required();
  run->add_option("--system", r.system, "system message of the chat");
  run->add_option("--max-tokens", r.max_tokens, "at most so many")->check(CLI::Range(1, 1'000'000));
  run->add_option("--temperature", r.temperature, "0: the most likely token")
      ->check(CLI::Range(0.0, 2.0));
  run->add_option("--top-p", r.top_p, "1: off");
  run->add_option("--top-k", r.top_k, "0: off");
  run->add_option("--min-p", r.min_p, "0: off");
  run->add_option("--repetition-penalty", r.repetition_penalty, "1: off");
  run->add_option("--seed", r.seed, "same seed, same text (default: drawn and printed)");
  run->add_option("--threads", r.threads, "0: one a core")->check(CLI::Range(0, 1024));
  run->add_option("--tensor-parallel", r.parallel.tensor, "ranks that share every layer")
      ->check(CLI::Range(1, kMaxParallel));
  run->add_option("--pipeline-parallel", r.parallel.pipeline,
                  "stages that layers are divided among")
      ->check(CLI::Range(1, kMaxParallel));
  run->add_option("--isa", r.isa, "auto, scalar, avx2, avx512, amx, neon or neon_dot");
  AddKvType(run, &r.kv_type);
  AddRepackCache(run, &r.repack_cache);
  run->add_flag("--quiet", r.quiet, "no statistics on stderr");
  auto* chat = run->add_flag("--chat", r.chat,
                             "through the model's chat template (the default "
                             "when it has one)");
  run->add_flag("--raw", r.raw, "the prompt as it is")->excludes(chat);
  commands.push_back({run, [run_flags] { return Run(*run_flags); }});

  auto bench_flags = std::make_shared<BenchFlags>();
  engine::BenchOptions& b = bench_flags->options;
  auto* bench = app.add_subcommand("bench", "how fast this machine runs a model file");
  bench->add_option("model", bench_flags->model, "GGUF file or Hugging Face folder")->required();
  bench->add_option("--prefill", b.prefill, "prompt tokens");
  bench->add_option("--decode", b.decode, "tokens to make");
  bench->add_option("--batch", b.batches, "numbers of sequences that decode together")
      ->delimiter(',');
  bench->add_option("--threads", b.threads, "0: one a core")->check(CLI::Range(0, 1024));
  bench->add_option("--repetitions", b.repetitions, "the best one counts");
  AddKvType(bench, &bench_flags->kv_type);
  AddRepackCache(bench, &b.repack_cache.folder);
  bench->add_flag("--json", bench_flags->json, "for programs");
  commands.push_back({bench, [bench_flags] { return Bench(*bench_flags); }});
}

}  // namespace weft::ctl
