// Runs every file of a corpus through a fuzz target once. An empty corpus is an error: the test
// would pass without testing anything.
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);

int main(int argc, char** argv) {
  std::vector<std::filesystem::path> files;
  for (int i = 1; i < argc; ++i) {
    std::error_code error;
    for (const auto& item : std::filesystem::recursive_directory_iterator(argv[i], error)) {
      if (item.is_regular_file()) files.push_back(item.path());
    }
  }
  for (const std::filesystem::path& path : files) {
    std::ifstream in(path, std::ios::binary);
    const std::string bytes{std::istreambuf_iterator<char>(in), {}};
    std::fprintf(stderr, "%s (%zu bytes)\n", path.c_str(), bytes.size());
    // A copy of exactly the right size, so that a sanitizer sees a read beyond the end.
    const std::vector<uint8_t> input(bytes.begin(), bytes.end());
    LLVMFuzzerTestOneInput(input.data(), input.size());
  }
  LLVMFuzzerTestOneInput(nullptr, 0);
  if (files.empty()) {
    std::fprintf(stderr, "no corpus files in the given folders\n");
    return 1;
  }
  std::printf("%zu inputs replayed\n", files.size());
  return 0;
}
