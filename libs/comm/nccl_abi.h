// NCCL's own types, as its API reference gives them; only what nccl.cc calls is here.
#pragma once

#include <cstddef>

namespace weft::nccl {

enum Result : int {
  kSuccess = 0,
  kInvalidArgument = 4,
  kInvalidUsage = 5,
  kInProgress = 7,
};

struct UniqueId {
  char bytes[128];
};

struct Comm;

// The members that version 2.14 had. A library takes what `size` and `version` say and fills in the
// rest itself.
struct Config {
  size_t size = sizeof(Config);
  unsigned int magic = 0xcafebeef;
  unsigned int version = 21400;
  int blocking = 0;  // calls return kInProgress; CommGetAsyncError says when they are done
};

inline constexpr int kUint8 = 1;
inline constexpr int kFloat32 = 7;
inline constexpr int kSum = 0;

}  // namespace weft::nccl
