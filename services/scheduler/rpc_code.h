// The google.rpc.Code numbers that requests end with. The scheduler's core does not see gRPC.
#pragma once

namespace weft::scheduler {

inline constexpr int kInvalidArgument = 3;
inline constexpr int kDeadlineExceeded = 4;
inline constexpr int kNotFound = 5;
inline constexpr int kResourceExhausted = 8;
inline constexpr int kInternal = 13;
inline constexpr int kUnavailable = 14;

}  // namespace weft::scheduler
