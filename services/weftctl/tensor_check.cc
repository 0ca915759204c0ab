#include "services/weftctl/tensor_check.h"

#include <algorithm>
#include <cmath>
#include <optional>

#include "libs/base/status.h"
#include "libs/device/cpu_features.h"
#include "libs/device/thread_team.h"
#include "libs/tensor/dtype.h"

namespace weft::ctl {
namespace {

constexpr int64_t kPiece = 1 << 16;  // elements a task decodes: whole blocks of every type
constexpr int64_t kTasksPerThread = 8;

// What some successive elements hold.
struct Seen {
  uint64_t not_finite = 0;
  int64_t first = -1;  // of those
  bool zero = true;

  void Take(const float* values, int64_t count, int64_t at) {
    for (int64_t i = 0; i < count; ++i) {
      zero = zero && values[i] == 0.0f;
      if (std::isfinite(values[i])) continue;
      if (not_finite++ == 0) first = at + i;
    }
  }
  void Add(const Seen& later) {
    if (not_finite == 0) first = later.first;
    not_finite += later.not_finite;
    zero = zero && later.zero;
  }
};

class Reader {
 public:
  Reader(const TensorSource& source, const TensorCheckOptions& options)
      : source_(source),
        options_(options),
        team_({.threads = options.threads == 0 ? AvailableCpus() : options.threads}),
        values_(static_cast<size_t>(team_.threads())),
        seen_(static_cast<size_t>(kTasksPerThread * team_.threads())) {
    for (std::vector<float>& values : values_) values.resize(kPiece);
    for (const Tensor& tensor : source.tensors()) all_ += static_cast<double>(tensor.bytes);
  }

  // Nothing where the type, or the number of bytes, does not let it be decoded.
  std::optional<Seen> Read(const Tensor& tensor) {
    const int64_t elements = tensor.elements();
    const std::optional<uint64_t> bytes = BytesFor(tensor.type, elements);
    if (!IsSupported(tensor.type) || !bytes.has_value() || tensor.bytes < *bytes) {
      Advance(tensor, tensor.bytes);
      return std::nullopt;
    }
    Seen seen;
    const int64_t per_batch = kPiece * static_cast<int64_t>(seen_.size());
    for (int64_t first = 0; first < elements; first += per_batch) {
      const int64_t count = std::min(per_batch, elements - first);
      const uint8_t* data = tensor.data + *BytesFor(tensor.type, first);
      const int64_t tasks = (count + kPiece - 1) / kPiece;
      team_.ParallelFor(tasks, [&](int64_t task, int rank) {
        const int64_t at = task * kPiece;
        const int64_t own = std::min(kPiece, count - at);
        float* values = values_[static_cast<size_t>(rank)].data();
        WEFT_CHECK(Dequantize(tensor.type, data + *BytesFor(tensor.type, at), own, values));
        Seen& piece = seen_[static_cast<size_t>(task)] = {};
        piece.Take(values, own, first + at);
      });
      for (int64_t task = 0; task < tasks; ++task) seen.Add(seen_[static_cast<size_t>(task)]);
      const uint64_t read = *BytesFor(tensor.type, count);
      source_.Release(data, read);
      Advance(tensor, read);
    }
    return seen;
  }

 private:
  void Advance(const Tensor& tensor, uint64_t bytes) {
    done_ += static_cast<double>(bytes);
    if (options_.progress) options_.progress(std::min(1.0, done_ / all_), tensor.name);
  }

  const TensorSource& source_;
  const TensorCheckOptions& options_;
  double all_ = 0;
  double done_ = 0;
  ThreadTeam team_;
  std::vector<std::vector<float>> values_;  // of each thread
  std::vector<Seen> seen_;                  // of each task
};

}  // namespace

TensorCheck CheckTensors(const TensorSource& source, const TensorCheckOptions& options) {
  TensorCheck check;
  Reader reader(source, options);
  for (const Tensor& tensor : source.tensors()) {
    const std::optional<Seen> seen = reader.Read(tensor);
    if (!seen.has_value()) {
      check.unread.push_back(tensor.name);
      continue;
    }
    ++check.tensors;
    check.bytes += tensor.bytes;
    if (seen->not_finite > 0) {
      check.not_finite.push_back({tensor.name, seen->not_finite, seen->first});
    }
    if (seen->zero && tensor.elements() > 0) check.zero.push_back(tensor.name);
  }
  return check;
}

}  // namespace weft::ctl
