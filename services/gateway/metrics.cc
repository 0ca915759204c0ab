#include "services/gateway/metrics.h"

#include <algorithm>
#include <array>
#include <string>

#include "libs/telemetry/buckets.h"

namespace weft::gateway {
namespace {

constexpr std::array<std::string_view, 40> kLanguages = {
    "ada",    "assembly", "bash",       "c",       "c#",        "c++",         "clojure",
    "cpp",    "csharp",   "css",        "cuda",    "dart",      "dockerfile",  "elixir",
    "erlang", "fortran",  "go",         "haskell", "html",      "java",        "javascript",
    "json",   "julia",    "kotlin",     "lua",     "matlab",    "objective-c", "ocaml",
    "perl",   "php",      "powershell", "python",  "r",         "ruby",        "rust",
    "scala",  "shell",    "sql",        "swift",   "typescript"};

}  // namespace

Metrics::Metrics(telemetry::Registry& r)
    : code_gen_requests(r.CounterWith("code_gen_requests_total", "Total code generation requests",
                                      {"language", "status"})),
      code_gen_duration(r.HistogramWith("code_gen_duration_seconds", "Time spent generating code",
                                        {"language"}, {0.1, 0.25, 0.5, 1, 2.5, 5, 10})),
      code_gen_tokens(r.HistogramWith("code_gen_tokens", "Number of tokens generated", {"language"},
                                      {10, 50, 100, 256, 512, 1024, 2048})),
      active_requests(r.GaugeOf("active_requests", "Generations that run now")),
      http_requests(r.CounterWith("http_requests_total", "Total HTTP requests",
                                  {"method", "endpoint", "status"})),
      http_duration(r.HistogramWith("http_request_duration_seconds", "HTTP request duration",
                                    {"method", "endpoint"},
                                    {0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10})),
      http_active(r.GaugeOf("http_requests_active", "HTTP requests that run now")),
      http_per_second(
          r.GaugeOf("http_requests_per_second", "HTTP requests begun in the last second")),
      model_info(r.GaugeWith("model_info", "A model that can be asked for",
                             {"model_id", "version", "framework", "quantization"})),
      prediction_errors(r.CounterWith("prediction_errors_total", "Total prediction errors",
                                      {"model_id", "error_type"})),
      model_inference(r.HistogramWith("model_inference_duration_seconds",
                                      "Time from a request's admission to its last token",
                                      {"model_id"}, {0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5})),
      tokens(r.CounterWith("weft_tokens_total", "Tokens of answered requests",
                           {"model_name", "kind"})),
      time_to_first_token(r.HistogramWith("weft_time_to_first_token_seconds",
                                          "From a request's arrival to its first text",
                                          {"model_name"}, telemetry::kFirstTokenBuckets)),
      auth_failures(
          r.CounterWith("weft_auth_failures_total",
                        "Requests refused for who asked: no_key, bad_key, bad_password, bad_login, "
                        "csrf, role, store, "
                        "throttled (too many bad keys from the address), or address (not allowed)",
                        {"reason"})),
      rate_limited(
          r.CounterOf("weft_rate_limited_total", "Requests refused by a key's rate limit")),
      scan_findings(r.CounterWith("weft_scan_findings_total", "Findings that the policy acted on",
                                  {"kind", "action"})),
      prompts_sanitized(r.CounterOf("weft_prompts_sanitized_total",
                                    "Prompts that lost what the prompt rules match")),
      prompts_truncated(r.CounterOf("weft_prompts_truncated_total",
                                    "Prompts that were cut at the limit on characters")),
      scan_skipped(
          r.CounterWith("weft_scan_unavailable_total",
                        "Texts that the scanner could not look at, and whether they passed "
                        "(open) or not (closed)",
                        {"kind", "mode"})),
      cancelled(r.CounterWith("weft_requests_cancelled_total", "Generations ended before their end",
                              {"reason"})) {}

std::string_view LanguageLabel(std::string_view language) {
  if (language.empty()) return "none";
  std::string lower(language.substr(0, 32));
  for (char& c : lower) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  }
  const auto it = std::lower_bound(kLanguages.begin(), kLanguages.end(), lower);
  return it != kLanguages.end() && *it == lower ? *it : std::string_view("other");
}

}  // namespace weft::gateway
