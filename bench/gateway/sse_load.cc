// bench_sse: loads a running gateway with streamed completions and prints what it saw as JSON.
//
//   bench_sse latency --port N --key K --rate 100 --requests 2000 --tokens 16 --step-us 10000
//   bench_sse streams --port N --key K --streams 256 --tokens 500
//   bench_sse flood   --port N --key K --streams 256 --tokens 64 --seconds 10
//
// The scripts beside it start what it talks to.
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <map>
#include <random>
#include <string>
#include <vector>

#include "bench/gateway/sse_client.h"

namespace weft::bench {
namespace {

using Flags = std::map<std::string, std::string>;

std::string Percentiles(std::vector<double> ms) {
  std::sort(ms.begin(), ms.end());
  const auto at = [&](double q) {
    return ms[static_cast<size_t>(std::lround(q * static_cast<double>(ms.size() - 1)))];
  };
  return fmt::format(R"({{"p50":{:.3f},"p90":{:.3f},"p99":{:.3f},"max":{:.3f}}})", at(0.5), at(0.9),
                     at(0.99), ms.back());
}

double Millis(std::chrono::nanoseconds t) { return static_cast<double>(t.count()) * 1e-6; }

// Every request got what it asked for; otherwise the numbers would mean something else.
bool AllWhole(const std::vector<SseResult>& results, uint32_t tokens) {
  return std::all_of(results.begin(), results.end(), [&](const SseResult& r) {
    return r.tokens == tokens && r.first_text != Time{};
  });
}

int Latency(const SseTarget& target, const Flags& flags) {
  const double rate = std::stod(flags.at("--rate"));
  const auto requests = std::stoul(flags.at("--requests"));
  const std::chrono::microseconds step(std::stoll(flags.at("--step-us")));
  // A Poisson process: arrivals come in bunches, as those of many independent clients do.
  std::mt19937_64 random(1);
  std::exponential_distribution<double> gap(rate);
  std::vector<std::chrono::nanoseconds> arrivals;
  double at = 0;
  for (size_t i = 0; i < requests; ++i) {
    at += gap(random);
    arrivals.push_back(std::chrono::nanoseconds(std::llround(at * 1e9)));
  }
  const std::vector<SseResult> results = RunSse(target, arrivals);
  if (!AllWhole(results, target.max_tokens)) {
    fmt::print(stderr, "bench_sse: an answer has other tokens than were asked for\n");
    return 1;
  }
  std::vector<double> first;
  std::vector<double> whole;
  const auto pacing = step * (target.max_tokens - 1);
  for (const SseResult& r : results) {
    first.push_back(Millis(r.first_text - r.due));
    whole.push_back(Millis(r.end - r.due - pacing));
  }
  fmt::print(R"({{"requests":{},"first_token_ms":{},"whole_ms":{}}})"
             "\n",
             results.size(), Percentiles(std::move(first)), Percentiles(std::move(whole)));
  return 0;
}

int Streams(const SseTarget& target, const Flags& flags) {
  const auto streams = std::stoul(flags.at("--streams"));
  const std::vector<SseResult> results =
      RunSse(target, std::vector<std::chrono::nanoseconds>(streams));
  if (!AllWhole(results, target.max_tokens)) {
    fmt::print(stderr, "bench_sse: an answer has other tokens than were asked for\n");
    return 1;
  }
  uint64_t tokens = 0;
  uint64_t events = 0;
  uint64_t bytes = 0;
  Time end{};
  for (const SseResult& r : results) {
    tokens += r.tokens;
    events += r.events;
    bytes += r.bytes;
    end = std::max(end, r.end);
  }
  const double seconds = Millis(end - results.front().due) * 1e-3;
  fmt::print(R"({{"streams":{},"tokens":{},"events":{},"bytes":{},"seconds":{:.3f}}})"
             "\n",
             streams, tokens, events, bytes, seconds);
  return 0;
}

// Clients that never pause.
int Flood(const SseTarget& target, const Flags& flags) {
  const auto results = RunClosedLoop(target, std::stoul(flags.at("--streams")),
                                     std::chrono::seconds(std::stoll(flags.at("--seconds"))));
  if (!AllWhole(results, target.max_tokens)) {
    fmt::print(stderr, "bench_sse: an answer has other tokens than were asked for\n");
    return 1;
  }
  std::vector<double> first;
  for (const SseResult& r : results) first.push_back(Millis(r.first_text - r.due));
  fmt::print(R"({{"requests":{},"first_token_ms":{}}})"
             "\n",
             results.size(), Percentiles(std::move(first)));
  return 0;
}

}  // namespace
}  // namespace weft::bench

int main(int argc, char** argv) {
  weft::bench::Flags flags;
  for (int i = 2; i + 1 < argc; i += 2) flags[argv[i]] = argv[i + 1];
  const std::string mode = argc > 1 ? argv[1] : "";
  try {
    weft::bench::SseTarget target;
    target.port = static_cast<uint16_t>(std::stoul(flags.at("--port")));
    target.key = flags.at("--key");
    target.max_tokens = static_cast<uint32_t>(std::stoul(flags.at("--tokens")));
    if (mode == "latency") return weft::bench::Latency(target, flags);
    if (mode == "streams") return weft::bench::Streams(target, flags);
    if (mode == "flood") return weft::bench::Flood(target, flags);
  } catch (const std::exception&) {
  }
  fmt::print(stderr, "bench_sse: wrong flags; see the head of bench/gateway/sse_load.cc\n");
  return 2;
}
