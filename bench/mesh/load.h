// What the benchmark measures, through a running scheduler.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>

namespace weft::bench {

struct StreamsResult {
  int streams = 0;
  uint32_t tokens_each = 0;
  double seconds = 0;
  double tokens_per_s = 0;
  double frames_per_s = 0;  // that the gateway's session received
  double tokens_per_frame = 0;
  double scheduler_us_per_frame = 0;  // CPU time of the scheduler process
  double scheduler_us_per_token = 0;
  double worker_us_per_frame = 0;  // CPU time of the synthetic worker process
};

// All streams at once, to their end.
StreamsResult MeasureStreams(const std::string& target, pid_t scheduler, pid_t worker, int streams,
                             uint32_t tokens_each);

struct LatencyResult {
  double rate = 0;
  int requests = 0;
  double p50_ms = 0;
  double p90_ms = 0;
  double p99_ms = 0;
  double max_ms = 0;
};

// Requests at fixed intervals; from Submit to the first delta. With a worker that answers at once,
// this is what the scheduler and both sessions add.
LatencyResult MeasureLatency(const std::string& target, double rate, int requests,
                             uint32_t tokens_each);

}  // namespace weft::bench
