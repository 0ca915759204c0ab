// What a generation used, told to those who count it.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>

namespace weft::gateway {

struct UsedTokens {
  uint64_t prompt = 0;         // with the cached ones
  uint64_t cached_prompt = 0;  // in the prefix cache
  uint64_t completion = 0;
};

struct FinishedUse {
  UsedTokens tokens;
  std::string_view outcome;
  std::string_view model_version;
  std::chrono::nanoseconds duration{0};
  bool from_cache = false;  // of whole answers: nothing was computed for it
};

// One request. Called by one thread at a time; does not block but for a line to a file.
class Account {
 public:
  virtual ~Account() = default;  // a request that never finished is counted as "lost"
  virtual void Progress(const UsedTokens& so_far) = 0;
  // Before the answer ends: when this returns, what was used is not forgotten. Later calls are
  // ignored.
  virtual void Finish(const FinishedUse& use) = 0;
};

}  // namespace weft::gateway
