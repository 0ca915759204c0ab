// bench_hit_rate: hit rates of the response cache's S3-FIFO beside LRU, at several sizes.
//
//   bench_hit_rate                  Zipf requests, with and without one-time ones in between
//   bench_hit_rate --trace FILE     replays "KEY BYTES" lines
//
// run_hit_rate.sh makes a trace of what this repository's compilers read.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <fstream>
#include <list>
#include <memory>
#include <random>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "libs/cache/s3fifo.h"

namespace weft::bench {
namespace {

struct Request {
  std::string key;
  size_t bytes;
};

class Lru {
 public:
  explicit Lru(size_t max_bytes) : max_bytes_(max_bytes) {}
  bool Get(const std::string& key) {
    const auto it = index_.find(key);
    if (it == index_.end()) return false;
    order_.splice(order_.begin(), order_, it->second);
    return true;
  }
  void Put(const std::string& key, size_t bytes) {
    const size_t charged = bytes + key.size() + cache::S3Fifo::kOverhead;
    if (charged > max_bytes_ / 10) return;  // as the other
    order_.push_front({key, charged});
    index_[key] = order_.begin();
    bytes_ += charged;
    while (bytes_ > max_bytes_) {
      bytes_ -= order_.back().second;
      index_.erase(order_.back().first);
      order_.pop_back();
    }
  }

 private:
  using Order = std::list<std::pair<std::string, size_t>>;
  const size_t max_bytes_;
  size_t bytes_ = 0;
  Order order_;
  std::unordered_map<std::string, Order::iterator> index_;
};

double HitRate(const std::vector<Request>& requests, size_t max_bytes, bool s3) {
  Lru lru(max_bytes);
  cache::S3Fifo fifo(max_bytes);
  size_t hits = 0;
  for (const Request& request : requests) {
    if (s3 ? fifo.Get(request.key) != nullptr : lru.Get(request.key)) {
      ++hits;
    } else if (s3) {
      fifo.Put(request.key, std::make_shared<const std::string>(request.bytes, 'x'));
    } else {
      lru.Put(request.key, request.bytes);
    }
  }
  return static_cast<double>(hits) / static_cast<double>(requests.size());
}

void Compare(const char* name, const std::vector<Request>& requests) {
  std::unordered_map<std::string, size_t> distinct;
  for (const Request& request : requests) distinct[request.key] = request.bytes;
  size_t bytes = 0;
  for (const auto& [key, size] : distinct) bytes += size + key.size() + cache::S3Fifo::kOverhead;
  const double best =
      1 - static_cast<double>(distinct.size()) / static_cast<double>(requests.size());
  for (const double part : {0.01, 0.05, 0.1, 0.25}) {
    const auto size = static_cast<size_t>(static_cast<double>(bytes) * part);
    const double lru = HitRate(requests, size, false), s3 = HitRate(requests, size, true);
    fmt::print(
        "{:28} {:9} requests, cache {:4.0f} % of all bytes: LRU {:5.1f} %  S3-FIFO {:5.1f} %"
        "  (unbounded {:5.1f} %)\n",
        name, requests.size(), part * 100, lru * 100, s3 * 100, best * 100);
  }
}

// Keys by popularity 1/rank^alpha; sizes of answers between 200 bytes and 20 KB.
std::vector<Request> Zipf(double alpha, size_t keys, size_t count, double once) {
  std::vector<double> sums(keys);
  double sum = 0;
  for (size_t i = 0; i < keys; ++i) sums[i] = sum += std::pow(static_cast<double>(i + 1), -alpha);
  std::mt19937_64 random(1);
  std::uniform_real_distribution<double> unit(0, 1);
  std::vector<Request> out;
  for (size_t i = 0; i < count; ++i) {
    std::string key = "once" + std::to_string(i);
    if (unit(random) >= once) {
      const auto at = std::lower_bound(sums.begin(), sums.end(), unit(random) * sum);
      key = "key" + std::to_string(at - sums.begin());
    }
    const size_t bytes = 200 + std::hash<std::string>()(key) % 19'800;
    out.push_back({std::move(key), bytes});
  }
  return out;
}

int Main(int argc, char** argv) {
  if (argc == 3 && std::string(argv[1]) == "--trace") {
    std::ifstream in(argv[2]);
    std::vector<Request> requests;
    Request one;
    while (in >> one.key >> one.bytes) requests.push_back(one);
    if (requests.empty()) {
      fmt::print(stderr, "bench_hit_rate: {} holds no requests\n", argv[2]);
      return 1;
    }
    Compare("replayed trace", requests);
    return 0;
  }
  for (const double alpha : {0.8, 1.0, 1.2}) {
    Compare(fmt::format("Zipf {:.1f}", alpha).c_str(), Zipf(alpha, 20'000, 300'000, 0));
  }
  Compare("Zipf 1.0, half asked once", Zipf(1.0, 20'000, 300'000, 0.5));
  return 0;
}

}  // namespace
}  // namespace weft::bench

int main(int argc, char** argv) { return weft::bench::Main(argc, argv); }
