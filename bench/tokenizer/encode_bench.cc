// Encodes the given files again and again on one thread and prints the throughput as JSON:
//   bench-tokenizer MODEL.gguf SECONDS FILE...
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "libs/base/status.h"
#include "libs/gguf/gguf.h"
#include "libs/tokenizer/tokenizer.h"

int main(int argc, char** argv) {
  if (argc < 4) {
    std::fprintf(stderr, "usage: bench-tokenizer MODEL.gguf SECONDS FILE...\n");
    return 2;
  }
  const auto file = weft::GgufFile::Open(argv[1]);
  if (!file.ok()) {
    std::fprintf(stderr, "%s\n", weft::ToString(file.status()).c_str());
    return 1;
  }
  const auto tokenizer = weft::Tokenizer::FromGguf(**file);
  if (!tokenizer.ok()) {
    std::fprintf(stderr, "%s\n", weft::ToString(tokenizer.status()).c_str());
    return 1;
  }
  const double seconds = std::strtod(argv[2], nullptr);
  std::vector<std::string> texts;
  size_t bytes = 0;
  for (int i = 3; i < argc; ++i) {
    std::ifstream in(argv[i], std::ios::binary);
    texts.emplace_back(std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>());
    bytes += texts.back().size();
  }
  using Clock = std::chrono::steady_clock;
  size_t rounds = 0;
  size_t tokens = 0;
  std::chrono::duration<double> took{};
  const auto begin = Clock::now();
  do {
    tokens = 0;
    for (const std::string& text : texts) tokens += (*tokenizer)->Encode(text).size();
    ++rounds;
    took = Clock::now() - begin;
  } while (took.count() < seconds);
  std::printf("{\"bytes\": %zu, \"tokens\": %zu, \"rounds\": %zu, \"mb_s\": %.2f}\n", bytes, tokens,
              rounds, static_cast<double>(bytes * rounds) / took.count() / 1e6);
  return 0;
}
