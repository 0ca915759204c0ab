// What the ranks of a group say to each other.
//
// A group is `size` ranks that make the same calls in the same order, as in NCCL: every rank calls
// AllReduceSum for the 7th call, or none does. Send and Recv concern two ranks only and do not
// count. Each rank has one Communicator of its own.
#pragma once

#include <absl/status/status.h>

#include <cstddef>
#include <cstdint>
#include <span>

namespace weft::comm {

// One thread at a time, but for Abort(), rank() and size().
//
// Every call blocks until its ranks have come or the group's timeout is over. Whoever waits in vain
// tears the group down: all ranks, those that wait and those that call later, then get the same
// kUnavailable or kAborted, which names the rank that did not come or that gave up. After an error
// the contents of buffers are not defined, but nobody else reads or writes them.
class Communicator {
 public:
  virtual ~Communicator() = default;

  virtual int rank() const = 0;
  virtual int size() const = 0;

  // data[i] of all ranks becomes the sum of all ranks' data[i], added in the order of the ranks:
  // the bits depend on nothing else, and are the same on every rank.
  virtual absl::Status AllReduceSum(std::span<float> data) = 0;

  // all = [size, mine.size()]; ranks that do not want it pass an empty one.
  virtual absl::Status AllGather(std::span<const float> mine, std::span<float> all) = 0;

  // `data` of all ranks becomes that of `root`.
  virtual absl::Status Broadcast(std::span<std::byte> data, int root) = 0;

  virtual absl::Status Barrier() = 0;

  // From one rank to another, in order; sizes agree. Send may return before the data is taken.
  virtual absl::Status Send(std::span<const float> data, int to) = 0;
  virtual absl::Status Recv(std::span<float> data, int from) = 0;

  // Tears the group down because this rank cannot go on; the first reason stays. Any thread, does
  // not block, twice is legal.
  virtual void Abort(const absl::Status& reason) = 0;

  // OK, or why the group was torn down. Any thread.
  virtual absl::Status status() const = 0;
};

}  // namespace weft::comm
