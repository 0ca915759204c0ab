// Products of many rows for Numerics::kFast: a vendor's library where it is there and was faster
// than the own kernel, else the own kernel. Every shape of a model, in steps of rows, is timed once
// on the device that it runs on, and the choice kept in a file (product_choices.h).
#pragma once

#include <absl/status/status.h>

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>

#include "libs/device/device.h"
#include "libs/ops/product_choices.h"
#include "libs/ops/product_library.h"

namespace weft::gpu {

// One thread at a time. The device must outlive it.
class FastProducts {
 public:
  struct Options {
    std::string cache_path;  // empty: choices are not kept
    uint64_t workspace = uint64_t{32} << 20;
    int32_t candidates = 8;  // at most, of a shape
    int32_t repeats = 20;    // launches of one timing; the best of three counts
    // The library must be so much faster to be chosen: timings of the same kernel differ by as
    // much.
    double margin = 0.02;
  };
  // Puts the own kernel's launch on the stream.
  using OwnKernel = std::function<absl::Status(const ProductShape& shape, const ProductArgs& args)>;

  FastProducts(Device& device, std::unique_ptr<ProductLibrary> library, Options options);

  // A matrix of the model, on the device. One of each shape is enough.
  void Add(DType type, int64_t outputs, int64_t cols, const ProductArgs& weights);
  // Chooses for all matrices and up to `rows` rows, what the file does not know by timing.
  // Allocates and waits: after loading, before the first step. A shape whose timing fails, for want
  // of memory or by the library's own error, keeps the own kernel. The error is the file's, which
  // is replaced then, or the device's.
  absl::Status Choose(int32_t rows, const OwnKernel& own, StreamHandle stream);

  // Whether the library computes this: then it is on the stream.
  bool Multiply(const ProductShape& shape, const ProductArgs& args, StreamHandle stream);

  struct Stats {
    int32_t timed = 0;
    int32_t known = 0;    // from the file
    int32_t library = 0;  // of both, what the library computes
  };
  const Stats& stats() const { return stats_; }
  std::string version() const { return library_->version(); }

 private:
  absl::StatusOr<double> Time(const std::function<absl::Status()>& launch, StreamHandle stream);
  absl::StatusOr<ProductChoice> Decide(const ProductShape& shape, const ProductArgs& args,
                                       const OwnKernel& own, StreamHandle stream);

  Device& device_;
  const std::unique_ptr<ProductLibrary> library_;
  const Options options_;
  std::map<ProductShape, ProductArgs> matrices_;  // with 0 rows
  std::map<ProductShape, ProductChoice> chosen_;  // of the library only
  DeviceBuffer workspace_;
  Stats stats_;
};

// The rows that a choice for `rows` was timed with: the next of a few.
int32_t TunedRows(int32_t rows);

}  // namespace weft::gpu
