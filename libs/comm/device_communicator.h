// What the ranks of a group say to each other when their data lies on devices.
#pragma once

#include <absl/status/status.h>

#include <cstdint>

#include "libs/device/device.h"

namespace weft::comm {

// As Communicator: all ranks make the same calls in the same order. But calls are put on a stream
// of the rank's device and return at once; what they read and write is memory of that device, and
// is theirs until the stream has done them. One thread at a time, but for Abort(), rank() and
// size(), and every group of a device on the same stream.
//
// Nothing here waits for a peer, so whoever waits for the stream bounds it and calls Abort() when
// the time is over: what the stream holds then ends, with an error or with values that mean
// nothing. status() says why. Calls after that return the same.
class DeviceCommunicator {
 public:
  virtual ~DeviceCommunicator() = default;

  virtual int rank() const = 0;
  virtual int size() const = 0;

  // data[i] of all ranks, [count], becomes the sum of all ranks' data[i]; the same bits on all.
  virtual absl::Status AllReduceSum(float* data, int64_t count, StreamHandle stream) = 0;
  // all = [size, count].
  virtual absl::Status AllGather(const float* mine, int64_t count, float* all,
                                 StreamHandle stream) = 0;
  virtual absl::Status Broadcast(void* data, uint64_t bytes, int root, StreamHandle stream) = 0;
  virtual absl::Status Send(const float* data, int64_t count, int to, StreamHandle stream) = 0;
  virtual absl::Status Recv(float* data, int64_t count, int from, StreamHandle stream) = 0;

  // Tears the group down because this rank cannot go on; the first reason stays. Any thread, twice
  // is legal.
  virtual void Abort(const absl::Status& reason) = 0;
  // OK, or why the group was torn down. Any thread.
  virtual absl::Status status() const = 0;
};

}  // namespace weft::comm
