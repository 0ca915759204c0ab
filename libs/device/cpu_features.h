// What this machine's processor can do, and which kernels to use on it.
#pragma once

#include <absl/status/statusor.h>

#include <string_view>
#include <vector>

namespace weft {

// Ascending capability within an architecture. Every level gives the same bits; they differ in
// speed.
enum class Isa {
  kScalar,   // portable C++
  kAvx2,     // AVX2, FMA, F16C
  kAvx512,   // AVX-512 F, BW, VL, DQ and VNNI
  kAmx,      // kAvx512 and AMX int8 tiles, granted by the operating system
  kNeon,     // 64-bit ARM: every processor's NEON
  kNeonDot,  // and the dot-product extension (SDOT)
};

std::string_view Name(Isa isa);

// The levels that this machine and this build have, ascending. Thread safe.
const std::vector<Isa>& AvailableIsas();

// The name of a level; or "auto" (or empty): the environment variable WEFT_ISA if
// set, else the best available. kInvalidArgument for other names, kFailedPrecondition for a level
// that this machine lacks.
absl::StatusOr<Isa> ResolveIsa(std::string_view name);

// Processors this process may run on (its affinity mask), at least 1.
int AvailableCpus();

}  // namespace weft
