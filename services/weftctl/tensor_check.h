// Reads every value of a model's tensors: what a damaged or half-written file has in it.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "libs/model/tensor_source.h"

namespace weft::ctl {

struct TensorCheck {
  struct NotFinite {
    std::string tensor;
    uint64_t values = 0;  // infinite or no number
    int64_t first = 0;    // its index among the tensor's elements
  };
  uint64_t tensors = 0;  // read; all of them but `unread`
  uint64_t bytes = 0;    // of those
  std::vector<NotFinite> not_finite;
  // Nothing but zeros: meant so in a bias, a hole in the file in a matrix.
  std::vector<std::string> zero;
  std::vector<std::string> unread;  // of a type that cannot be decoded
};

struct TensorCheckOptions {
  int threads = 0;  // 0: one per available core
  // Called from the calling thread with the fraction of the bytes that is read and the name of the
  // tensor in work. May be empty.
  std::function<void(double, const std::string&)> progress = nullptr;
};

// One tensor after another, in pieces, so that little memory is used; a mapped source gives its
// pages back.
TensorCheck CheckTensors(const TensorSource& source, const TensorCheckOptions& options);

}  // namespace weft::ctl
