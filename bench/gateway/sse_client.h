// Many streamed completions at once over keep-alive connections, on one thread with epoll. It knows
// just enough HTTP/1.1 and JSON for the gateway's answers, and checks that each one is whole.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace weft::bench {

using Time = std::chrono::steady_clock::time_point;

struct SseTarget {
  uint16_t port = 0;  // on 127.0.0.1
  std::string key;
  uint32_t max_tokens = 16;
};

struct SseResult {
  Time due;         // when the request should have been sent
  Time first_text;  // the first event with text was read
  Time end;         // the end of the answer was read
  uint32_t tokens = 0;
  uint32_t events = 0;
  uint64_t bytes = 0;
};

// Sends request i at start + arrivals[i], whatever became of the earlier ones (an open loop), each
// on a connection that is free then. Ends the process with a message at the first answer that is
// not whole.
std::vector<SseResult> RunSse(const SseTarget& target,
                              const std::vector<std::chrono::nanoseconds>& arrivals);

// `streams` clients that each send the next request when an answer has ended, for `duration`; what
// runs then is read to its end. Returns the answers.
std::vector<SseResult> RunClosedLoop(const SseTarget& target, size_t streams,
                                     std::chrono::nanoseconds duration);

}  // namespace weft::bench
