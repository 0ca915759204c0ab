#include "libs/device/cpu_features.h"

#if defined(__x86_64__)
#include <cpuid.h>
#elif defined(__aarch64__) && defined(__linux__)
#include <sys/auxv.h>
#endif

#include <sched.h>
#if defined(__linux__)
#include <sys/syscall.h>
#include <unistd.h>
#endif

#include <cstdlib>
#include <string>
#include <thread>

#include "libs/base/status.h"

namespace weft {
namespace {

constexpr Isa kAllIsas[] = {Isa::kScalar, Isa::kAvx2, Isa::kAvx512,
                            Isa::kAmx,    Isa::kNeon, Isa::kNeonDot};

}  // namespace

std::string_view Name(Isa isa) {
  switch (isa) {
    case Isa::kScalar:
      return "scalar";
    case Isa::kAvx2:
      return "avx2";
    case Isa::kAvx512:
      return "avx512";
    case Isa::kAmx:
      return "amx";
    case Isa::kNeon:
      return "neon";
    case Isa::kNeonDot:
      return "neon_dot";
  }
  return "unknown";
}

#if defined(__x86_64__)
// Clang 14's __builtin_cpu_supports does not know it.
static bool HasF16c() {
  unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
  return __get_cpuid(1, &eax, &ebx, &ecx, &edx) != 0 && (ecx & bit_F16C) != 0;
}

// AMX tiles with int8 products, and the permission to use them, which Linux gives a process that
// asks for it: their state makes its signal frames 8 KB larger.
static bool GrantedAmx() {
#if defined(__linux__)
  constexpr unsigned kTile = 1u << 24;
  constexpr unsigned kInt8 = 1u << 25;
  unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
  if (__get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx) == 0) return false;
  if ((edx & kTile) == 0 || (edx & kInt8) == 0) return false;
  constexpr long kRequestPermission = 0x1023;  // ARCH_REQ_XCOMP_PERM
  constexpr long kTileData = 18;               // XFEATURE_XTILEDATA
  return syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
#else
  return false;
#endif
}
#elif defined(__aarch64__)
static bool HasDotProduct() {
#if defined(__linux__)
  constexpr unsigned long kAsimdDp = 1ul << 20;  // HWCAP_ASIMDDP
  return (getauxval(AT_HWCAP) & kAsimdDp) != 0;
#elif defined(__APPLE__)
  return true;  // every 64-bit Mac
#else
  return false;
#endif
}
#endif

const std::vector<Isa>& AvailableIsas() {
  static const std::vector<Isa> isas = [] {
    std::vector<Isa> found = {Isa::kScalar};
#if defined(__x86_64__)
    // __builtin_cpu_supports also asks the operating system (XGETBV) whether it saves the
    // registers.
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && HasF16c()) {
      found.push_back(Isa::kAvx2);
      if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
          __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq") &&
          __builtin_cpu_supports("avx512vnni")) {
        found.push_back(Isa::kAvx512);
        if (GrantedAmx()) found.push_back(Isa::kAmx);
      }
    }
#elif defined(__aarch64__)
    found.push_back(Isa::kNeon);
    if (HasDotProduct()) found.push_back(Isa::kNeonDot);
#endif
    return found;
  }();
  return isas;
}

absl::StatusOr<Isa> ResolveIsa(std::string_view name) {
  std::string wanted(name);
  std::string source = "isa";
  if (wanted.empty() || wanted == "auto") {
    const char* forced = std::getenv("WEFT_ISA");
    if (forced == nullptr || *forced == '\0' || std::string_view(forced) == "auto") {
      return AvailableIsas().back();
    }
    wanted = forced;
    source = "WEFT_ISA";
  }
  for (Isa isa : kAllIsas) {
    if (wanted != Name(isa)) continue;
    for (Isa available : AvailableIsas()) {
      if (available == isa) return isa;
    }
    return FailedPrecondition("{}: this machine has no {}; its best level is {}", source, wanted,
                              Name(AvailableIsas().back()));
  }
  return InvalidArgument(
      "{}: expected auto, scalar, avx2, avx512, amx, neon or neon_dot, found \"{}\"", source,
      wanted);
}

int AvailableCpus() {
#if defined(__linux__)
  cpu_set_t set;
  CPU_ZERO(&set);
  if (sched_getaffinity(0, sizeof(set), &set) == 0) {
    const int count = CPU_COUNT(&set);
    if (count > 0) return count;
  }
#endif
  const unsigned count = std::thread::hardware_concurrency();
  return count == 0 ? 1 : static_cast<int>(count);
}

}  // namespace weft
