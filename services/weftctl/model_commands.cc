// quantize, inspect: model files, without running them.
#include <signal.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <memory>
#include <string>
#include <vector>

#include "libs/base/status.h"
#include "libs/quantize/open_source.h"
#include "libs/quantize/quantize_model.h"
#include "services/weftctl/commands.h"
#include "services/weftctl/inspect.h"
#include "services/weftctl/printable.h"
#include "services/weftctl/progress_bar.h"

namespace weft::ctl {
namespace {

struct QuantizeFlags {
  std::string in;
  std::string out;
  std::string type;
  int threads = 0;
  bool pure = false;
  bool quiet = false;
};

std::atomic<bool> interrupted{false};

constexpr DType kTypes[] = {DType::kQ8_0, DType::kQ6_K, DType::kQ4_K, DType::kQ4_0,
                            DType::kF16,  DType::kBF16, DType::kF32};

std::vector<std::string> TypeNames() {
  std::vector<std::string> names;
  for (const DType type : kTypes) names.emplace_back(Name(type));
  return names;
}

DType TypeNamed(const std::string& name) {
  const auto* it = std::find_if(std::begin(kTypes), std::end(kTypes),
                                [&](DType type) { return Name(type) == name; });
  return *it;  // --type takes no other
}

std::string Joined(const std::vector<DType>& types) {
  std::string out;
  for (const DType type : types) out += (out.empty() ? "" : " ") + std::string(Name(type));
  return out;
}

absl::StatusOr<int> RunQuantize(const QuantizeFlags& flags) {
  WEFT_ASSIGN_OR_RETURN(const QuantizeInput input, OpenForQuantizing(flags.in));
  QuantizeOptions options;
  options.mix = {TypeNamed(flags.type), flags.pure};
  options.threads = flags.threads;
  for (const int number : {SIGINT, SIGTERM}) signal(number, [](int) { interrupted = true; });
  const auto begin = std::chrono::steady_clock::now();
  absl::StatusOr<QuantizeReport> result = [&] {
    ProgressBar bar;
    options.progress = [&bar](double fraction, const std::string& name) {
      bar.Show(fraction, Printable(name));
      return !interrupted.load();
    };
    return QuantizeModel(*input.tensors, *input.metadata, flags.out, options);
  }();
  if (result.status().code() == absl::StatusCode::kCancelled) {
    fmt::print(stderr, "weftctl: {}\n", Message(result.status()));
    return 130;
  }
  WEFT_RETURN_IF_ERROR(result.status());
  if (flags.quiet) return 0;
  const QuantizeReport& report = *result;
  for (const std::string& note : input.notes) fmt::print(stderr, "{}\n", note);
  for (const std::string& fallback : report.fallbacks) fmt::print(stderr, "{}\n", fallback);
  if (!report.requantized.empty()) {
    fmt::print(stderr, "the source is quantised already ({}): what that lost stays lost\n",
               Joined(report.requantized));
  }
  std::string types;
  for (const auto& [type, count] : report.tensors) {
    types += fmt::format("{}{} {}", types.empty() ? "" : ", ", count, Name(type));
  }
  const double seconds =
      std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  fmt::print("{}: {:.1f} MB from {:.1f} MB, {:.2f} bits per weight, {:.1f} s; tensors: {}\n",
             flags.out, static_cast<double>(report.bytes_out) / 1e6,
             static_cast<double>(report.bytes_in) / 1e6,
             8.0 * static_cast<double>(report.bytes_out) / static_cast<double>(report.elements),
             seconds, types);
  return 0;
}

struct InspectFlags {
  std::string model;
  bool all = false;
  bool json = false;
  bool check = false;
  int threads = 0;
};

absl::StatusOr<int> RunInspect(const InspectFlags& flags) {
  WEFT_ASSIGN_OR_RETURN(InspectedModel model, OpenForInspection(flags.model));
  if (flags.check) {
    ProgressBar bar;
    model.check = CheckTensors(
        *model.tensors,
        {.threads = flags.threads, .progress = [&bar](double fraction, const std::string& name) {
           bar.Show(fraction, Printable(name));
         }});
  }
  const std::string out = flags.json ? InspectionJson(model) : InspectionText(model, flags.all);
  std::fwrite(out.data(), 1, out.size(), stdout);
  return model.check.has_value() && !model.check->not_finite.empty() ? 1 : 0;
}

}  // namespace

void AddModelCommands(CLI::App& app, Commands& commands) {
  auto flags = std::make_shared<QuantizeFlags>();
  auto* quantize = app.add_subcommand("quantize", "write a model with smaller weights");
  quantize
      ->add_option("in", flags->in,
                   "GGUF file (of a split one, the first part), or folder of safetensors")
      ->required();
  quantize->add_option("out", flags->out, "GGUF file to write; replaced when it is there")
      ->required();
  quantize
      ->add_option("--type", flags->type,
                   "Q8_0, Q6_K, Q4_0, or Q4_K: the mix that llama.cpp calls Q4_K_M; F16, BF16 and "
                   "F32 only convert")
      ->required()
      ->check(CLI::IsMember(TypeNames()));
  quantize->add_option("--threads", flags->threads, "0: one a core")->check(CLI::Range(0, 1024));
  quantize->add_flag("--pure", flags->pure, "the type for every matrix, no mix");
  quantize->add_flag("--quiet", flags->quiet, "print nothing when all went well");
  commands.push_back({quantize, [flags] { return RunQuantize(*flags); }});

  auto inspect_flags = std::make_shared<InspectFlags>();
  auto* inspect =
      app.add_subcommand("inspect", "what is in a model: sizes, types, the memory it takes");
  inspect->add_option("model", inspect_flags->model, "GGUF file, or folder of safetensors")
      ->required();
  inspect->add_flag("--all", inspect_flags->all, "every metadata entry and tensor too");
  inspect->add_flag("--json", inspect_flags->json, "for programs, with everything");
  inspect->add_flag("--check", inspect_flags->check,
                    "read every value; exit code 1 where one is infinite or no number");
  inspect->add_option("--threads", inspect_flags->threads, "of --check; 0: one a core")
      ->check(CLI::Range(0, 1024));
  commands.push_back({inspect, [inspect_flags] { return RunInspect(*inspect_flags); }});
}

}  // namespace weft::ctl
