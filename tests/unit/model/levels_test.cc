// The bits of whole models, committed, as levels_test.cc of the ops has them: logits of the tiny
// checkpoints of every family and of the real model, the same on every level of every machine.
//
// After a change that is meant to change bits: test_model "[.write-hashes]", and say so in the
// commit.
#include <cstdlib>
#include <filesystem>
#include <string>

#include "libs/device/cpu_features.h"
#include "tests/support/bits_hash.h"
#include "tests/support/catch.h"
#include "tests/unit/model/sequence_runner.h"

namespace weft {
namespace {

using test::BitsHash;
using test::BitsHashes;

constexpr const char* kFamilyFile = "tests/data/golden/family_bits.txt";
constexpr const char* kRealFile = "tests/data/golden/smollm2_bits.txt";

std::string Logits(const std::string& path, const std::vector<int32_t>& tokens, size_t chunk,
                   Isa isa) {
  auto model = Model::Load(path, {.isa = std::string(Name(isa)), .threads = 2});
  INFO(path << ": " << ToString(model.status()));
  REQUIRE(model.ok());
  return BitsHash(test::LogitsInChunks(**model, tokens, chunk, 64));
}

BitsHashes HashFamilies(Isa isa) {
  BitsHashes out;
  const std::vector<int32_t> tokens = {3, 1, 41, 5, 9, 26, 5, 35, 8, 9, 7, 9, 32, 3, 8, 4, 6};
  for (const auto& entry : std::filesystem::directory_iterator("tests/data/families")) {
    out[entry.path().filename()] = Logits(entry.path(), tokens, 5, isa);
  }
  return out;
}

BitsHashes HashReal(Isa isa) {
  const char* model = std::getenv("WEFT_MODEL");
  const char* home = std::getenv("WEFT_HOME");
  const std::string path = model != nullptr && *model != '\0'
                               ? model
                               : std::string(home != nullptr && *home != '\0' ? home : ".weft") +
                                     "/models/SmolLM2-135M-Instruct.Q4_1.gguf";
  return {{"smollm2", Logits(path, {504, 4052, 282, 4649, 314, 7042}, 4, isa)}};
}

TEST_CASE("Tiny models give the committed bits on every instruction set of every machine",
          "[model][levels]") {
  const BitsHashes expected = test::ReadBitsHashes(kFamilyFile);
  for (const Isa isa : AvailableIsas()) {
    INFO(Name(isa));
    CHECK(HashFamilies(isa) == expected);
  }
}

TEST_CASE("The real model gives the committed bits on every instruction set of every machine",
          "[model][levels]") {
  const BitsHashes expected = test::ReadBitsHashes(kRealFile);
  for (const Isa isa : AvailableIsas()) {
    INFO(Name(isa));
    CHECK(HashReal(isa) == expected);
  }
}

TEST_CASE("Write the bits of models on the portable level", "[.write-hashes]") {
  test::WriteBitsHashes(kFamilyFile, HashFamilies(Isa::kScalar));
  test::WriteBitsHashes(kRealFile, HashReal(Isa::kScalar));
}

}  // namespace
}  // namespace weft
