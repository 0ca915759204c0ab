// Throughput of the built-in rules over source code, and the cost of a token in a growing stream.
// Usage: bench-scan [directory with source files, default "."]
#include <fmt/core.h>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "libs/base/status.h"
#include "libs/scan/rule_set.h"
#include "libs/scan/scanner.h"

namespace {

using weft::scan::RuleSet;
using weft::scan::ScanOptions;
using weft::scan::TextKind;

double Since(std::chrono::steady_clock::time_point begin) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

std::vector<std::string> Sources(const std::string& directory) {
  std::vector<std::string> files;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(directory)) {
    const std::string extension = entry.path().extension();
    if (!entry.is_regular_file() || entry.path().string().find("/build/") != std::string::npos ||
        (extension != ".cc" && extension != ".h" && extension != ".py" && extension != ".proto")) {
      continue;
    }
    std::ifstream in(entry.path(), std::ios::binary);
    files.emplace_back(std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>());
  }
  return files;
}

void Whole(const RuleSet& rules, const std::vector<std::string>& files, TextKind kind) {
  size_t bytes = 0;
  size_t findings = 0;
  const auto begin = std::chrono::steady_clock::now();
  do {
    findings = 0;
    for (const std::string& file : files) {
      findings += ScanText(rules, file, {.kind = kind}).findings.size();
      bytes += file.size();
    }
  } while (Since(begin) < 2.0);
  fmt::print("whole files as {:6}   {:7.3f} GB/s   {} findings in {} files\n", Name(kind),
             static_cast<double>(bytes) / Since(begin) / 1e9, findings, files.size());
}

void Stream(const std::shared_ptr<const RuleSet>& rules, const std::string& text, TextKind kind,
            size_t piece) {
  std::vector<double> micros;
  uint64_t held = 0;
  weft::scan::StreamScanner stream(rules, {.kind = kind});
  for (size_t at = 0; at < text.size(); at += piece) {
    const auto begin = std::chrono::steady_clock::now();
    const auto progress = stream.Append(std::string_view(text).substr(at, piece));
    micros.push_back(Since(begin) * 1e6);
    held += stream.bytes() - progress.clear_through;
  }
  const double mean_held = static_cast<double>(held) / static_cast<double>(micros.size());
  std::sort(micros.begin(), micros.end());
  fmt::print("{:4}-byte pieces as {:6} p50 {:7.2f} us   p99 {:7.2f} us   {:5.1f} bytes held back\n",
             piece, Name(kind), micros[micros.size() / 2], micros[micros.size() * 99 / 100],
             mean_held);
}

}  // namespace

int main(int argc, char** argv) {
  const auto begin = std::chrono::steady_clock::now();
  const auto rules = RuleSet::Builtin();
  if (!rules.ok()) {
    fmt::print(stderr, "{}\n", weft::ToString(rules.status()));
    return 1;
  }
  fmt::print("{} rules compiled in {:.0f} ms, {} bytes a stream\n", (*rules)->rules().size(),
             Since(begin) * 1e3, (*rules)->stream_bytes());
  const std::vector<std::string> files = Sources(argc > 1 ? argv[1] : ".");
  std::string text;
  for (const std::string& file : files) text += file;
  if (text.empty()) {
    fmt::print(stderr, "no source files\n");
    return 1;
  }
  for (const TextKind kind : {TextKind::kCode, TextKind::kOutput, TextKind::kPrompt}) {
    Whole(**rules, files, kind);
  }
  text.resize(std::min<size_t>(text.size(), 400'000));
  for (const size_t piece : {1, 4, 16, 64, 1024}) Stream(*rules, text, TextKind::kOutput, piece);
  return 0;
}
