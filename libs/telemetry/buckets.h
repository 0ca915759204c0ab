// Histogram buckets that several services use, in seconds.
#pragma once

#include <vector>

namespace weft::telemetry {

// Time to the first token: vLLM's.
inline const std::vector<double> kFirstTokenBuckets = {0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08,
                                                       0.1,   0.25,  0.5,  0.75, 1,    2.5,  5,
                                                       7.5,   10,    20,   40,   80};

}  // namespace weft::telemetry
