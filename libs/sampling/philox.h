// Philox4x32-10, a counter-based random number generator (Salmon et al., "Parallel Random Numbers:
// As Easy as 1, 2, 3", SC 2011). A draw is a function of key and counter and nothing else, so a
// sequence that moves to another worker goes on with the same numbers.
#pragma once

#include <array>
#include <cstdint>

namespace weft::sampling {

constexpr std::array<uint32_t, 4> Philox4x32(std::array<uint32_t, 4> counter,
                                             std::array<uint32_t, 2> key) {
  constexpr uint64_t kM0 = 0xD2511F53;
  constexpr uint64_t kM1 = 0xCD9E8D57;
  for (int round = 0; round < 10; ++round) {
    const uint64_t p0 = kM0 * counter[0];
    const uint64_t p1 = kM1 * counter[2];
    counter = {static_cast<uint32_t>(p1 >> 32) ^ counter[1] ^ key[0], static_cast<uint32_t>(p1),
               static_cast<uint32_t>(p0 >> 32) ^ counter[3] ^ key[1], static_cast<uint32_t>(p0)};
    key[0] += 0x9E3779B9;
    key[1] += 0xBB67AE85;
  }
  return counter;
}

// Uniform in [0, 1) with 53 bits. The seed is Philox's 64-bit key; the choice stands in the counter
// beside the output index and the number of the draw, so no two of the four can collide.
constexpr double UniformDraw(uint64_t seed, uint32_t choice, uint32_t output_index, uint32_t draw) {
  const std::array<uint32_t, 4> bits =
      Philox4x32({output_index, draw, choice, 0},
                 {static_cast<uint32_t>(seed), static_cast<uint32_t>(seed >> 32)});
  const uint64_t wide = (static_cast<uint64_t>(bits[0]) << 32) | bits[1];
  return static_cast<double>(wide >> 11) * 0x1.0p-53;
}

}  // namespace weft::sampling
