// Dequantisation against the Python package `gguf`: tests/data/golden/make_dequant_goldens.py.
#include <bit>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "libs/tensor/block_formats.h"
#include "libs/tensor/dtype.h"
#include "tests/support/catch.h"

namespace weft {
namespace {

constexpr DType kTypes[] = {
    DType::kF32,  DType::kF16,  DType::kBF16,   DType::kF8E4M3, DType::kQ4_0, DType::kQ4_1,
    DType::kQ5_0, DType::kQ5_1, DType::kQ8_0,   DType::kQ2_K,   DType::kQ3_K, DType::kQ4_K,
    DType::kQ5_K, DType::kQ6_K, DType::kIQ4_NL, DType::kIQ4_XS, DType::kMXFP4};

void Compare(const std::string& folder) {
  for (const DType type : kTypes) {
    const std::string path = folder + "/" + std::string(Name(type)) + ".bin";
    INFO(path);
    std::ifstream file(path, std::ios::binary);
    const std::string bytes((std::istreambuf_iterator<char>(file)), {});
    REQUIRE(bytes.size() > 8);
    uint64_t elements = 0;
    std::memcpy(&elements, bytes.data(), sizeof(elements));
    const uint64_t encoded = BytesFor(type, static_cast<int64_t>(elements)).value();
    REQUIRE(bytes.size() == 8 + encoded + 4 * elements);
    // An odd address: any alignment is fine.
    const std::string source = "x" + bytes.substr(8, encoded);
    std::vector<float> expected(elements);
    std::memcpy(expected.data(), bytes.data() + 8 + encoded, 4 * elements);
    std::vector<float> values(elements, 42.0f);
    REQUIRE(Dequantize(type, reinterpret_cast<const uint8_t*>(source.data()) + 1,
                       static_cast<int64_t>(elements), values.data()));
    uint64_t differ = 0;
    for (uint64_t i = 0; i < elements; ++i) {
      // Which of the many NaNs it is does not matter.
      if (std::isnan(values[i]) && std::isnan(expected[i])) continue;
      differ += std::bit_cast<uint32_t>(values[i]) != std::bit_cast<uint32_t>(expected[i]);
    }
    REQUIRE(differ == 0);
  }
}

TEST_CASE("Every supported type dequantises to the bits of the Python package gguf", "[tensor]") {
  Compare("tests/data/golden/dequant");
}

TEST_CASE("Large random tensors dequantise to the bits of the Python package gguf", "[.full]") {
  const char* folder = std::getenv("WEFT_DEQUANT_GOLDENS");
  REQUIRE(folder != nullptr);
  Compare(folder);
}

TEST_CASE("The golden types are the supported types, and their sizes agree", "[tensor]") {
  uint32_t supported = 0;
  for (uint32_t number = 0; number < 2000; ++number) {
    supported += IsSupported(static_cast<DType>(number));
  }
  REQUIRE(supported == std::size(kTypes));
  for (const DType type : kTypes) {
    REQUIRE(IsSupported(type));
    const BlockFormat* format = FindBlockFormat(type);
    REQUIRE((format == nullptr) == (BlockSize(type) == 1));
    if (format == nullptr) continue;
    REQUIRE(format->block == BlockSize(type));
    REQUIRE(format->bytes == BlockBytes(type));
    REQUIRE(format->block % format->group == 0);
  }
  REQUIRE(FindBlockFormat(DType::kIQ2_XXS) == nullptr);
}

}  // namespace
}  // namespace weft
