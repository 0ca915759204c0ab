// Encodes the given files again and again on one thread and prints the throughput as JSON:
//   bench-tokenizer MODEL SECONDS FILE...
// MODEL is a GGUF file or a folder of Hugging Face.
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "libs/base/status.h"
#include "libs/gguf/gguf.h"
#include "libs/tokenizer/model_metadata.h"
#include "libs/tokenizer/tokenizer.h"

namespace {

absl::StatusOr<std::shared_ptr<const weft::Tokenizer>> Load(const std::string& path) {
  WEFT_ASSIGN_OR_RETURN(const auto file, weft::OpenModelMetadata(path));
  return weft::Tokenizer::FromGguf(*file);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 4) {
    std::fprintf(stderr, "usage: bench-tokenizer MODEL SECONDS FILE...\n");
    return 2;
  }
  const auto tokenizer = Load(argv[1]);
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
