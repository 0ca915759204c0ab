// How fast this machine reads memory: the roof of decoding, where every weight is read once a
// token.
//
//   read_bandwidth [threads=N] [mib=N] [seconds=N]
//
// Every thread sums its own slice of one buffer in huge pages. Prints JSON: the best and the median
// pass, in 10^9 bytes per second.
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <string_view>
#include <vector>

#include "libs/device/thread_team.h"
#include "libs/tensor/storage.h"

namespace weft {
namespace {

struct Options {
  int threads = 1;
  int64_t mib = 1024;
  double seconds = 2;
};

// Sixteen sums of 32 bits in flight: the compiler makes vectors of them on any machine.
uint32_t Sum(const uint8_t* data, int64_t bytes) {
  uint32_t sums[64] = {};
  for (int64_t at = 0; at < bytes; at += static_cast<int64_t>(sizeof(sums))) {
    uint32_t words[64];
    std::memcpy(words, data + at, sizeof(words));
    for (int i = 0; i < 64; ++i) sums[i] += words[i];
  }
  uint32_t sum = 0;
  for (const uint32_t part : sums) sum += part;
  return sum;
}

int Run(const Options& options) {
  using Clock = std::chrono::steady_clock;
  const int64_t bytes = options.mib << 20;
  const int64_t slice = bytes / options.threads / 4096 * 4096;
  PageArena arena;
  const std::shared_ptr<uint8_t> memory = arena.Allocate(static_cast<uint64_t>(bytes));
  if (memory == nullptr) {
    std::fprintf(stderr, "no memory for %lld MiB\n", static_cast<long long>(options.mib));
    return 1;
  }
  std::memset(memory.get(), 1, static_cast<size_t>(bytes));
  ThreadTeam team({.threads = options.threads});
  std::vector<uint32_t> results(static_cast<size_t>(options.threads) * 16);
  std::vector<double> rates;
  const auto until = Clock::now() + std::chrono::duration<double>(options.seconds);
  while (rates.size() < 5 || Clock::now() < until) {
    const auto begin = Clock::now();
    team.ParallelFor(options.threads, [&](int64_t task, int) {
      results[static_cast<size_t>(task) * 16] += Sum(memory.get() + task * slice, slice);
    });
    const std::chrono::duration<double> taken = Clock::now() - begin;
    rates.push_back(static_cast<double>(slice * options.threads) / taken.count() * 1e-9);
  }
  std::sort(rates.begin(), rates.end());
  std::printf("%s\n", fmt::format("{{\"threads\":{},\"mib\":{},\"best_gb_s\":{:.2f},"
                                  "\"median_gb_s\":{:.2f},\"check\":{}}}",
                                  options.threads, options.mib, rates.back(),
                                  rates[rates.size() / 2], results[0])
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
    const std::string_view key = arg.substr(0, equals);
    const char* value = equals == std::string_view::npos ? "" : argv[i] + equals + 1;
    if (key == "threads") {
      options.threads = std::atoi(value);
    } else if (key == "mib") {
      options.mib = std::atoll(value);
    } else if (key == "seconds") {
      options.seconds = std::atof(value);
    } else {
      options.threads = 0;
    }
  }
  if (options.threads < 1 || options.threads > 1024 || options.mib < 1 || options.mib > (1 << 20)) {
    std::fprintf(stderr, "usage: read_bandwidth [threads=N] [mib=N] [seconds=N]\n");
    return 2;
  }
  return weft::Run(options);
}
