#include "libs/ops/fast_products.h"

#include <algorithm>
#include <utility>

#include "libs/base/status.h"

namespace weft::gpu {
namespace {

constexpr int32_t kTunedRows[] = {32, 64, 128, 256, 512, 1024, 2048};

}  // namespace

int32_t TunedRows(int32_t rows) {
  for (const int32_t tuned : kTunedRows) {
    if (rows <= tuned) return tuned;
  }
  return kTunedRows[std::size(kTunedRows) - 1];
}

FastProducts::FastProducts(Device& device, std::unique_ptr<ProductLibrary> library, Options options)
    : device_(device), library_(std::move(library)), options_(std::move(options)) {}

void FastProducts::Add(DType type, int64_t outputs, int64_t cols, const ProductArgs& weights) {
  matrices_.try_emplace({type, outputs, cols, 0}, weights);
}

absl::StatusOr<double> FastProducts::Time(const std::function<absl::Status()>& launch,
                                          StreamHandle stream) {
  WEFT_ASSIGN_OR_RETURN(const Event begin, MakeEvent(device_));
  WEFT_ASSIGN_OR_RETURN(const Event end, MakeEvent(device_));
  double best = 0;
  for (int32_t round = -1; round < 3; ++round) {  // the first one warms up
    WEFT_RETURN_IF_ERROR(device_.Record(begin.get(), stream));
    for (int32_t i = 0; i < (round < 0 ? 1 : options_.repeats); ++i) {
      WEFT_RETURN_IF_ERROR(launch());
    }
    WEFT_RETURN_IF_ERROR(device_.Record(end.get(), stream));
    WEFT_RETURN_IF_ERROR(device_.Synchronize(stream));
    WEFT_ASSIGN_OR_RETURN(const double ms, device_.Milliseconds(begin.get(), end.get()));
    const double each = ms * 1e3 / options_.repeats;
    if (round == 0 || (round > 0 && each < best)) best = each;
  }
  return best;
}

absl::StatusOr<ProductChoice> FastProducts::Decide(const ProductShape& shape,
                                                   const ProductArgs& args, const OwnKernel& own,
                                                   StreamHandle stream) {
  ProductChoice choice;
  WEFT_ASSIGN_OR_RETURN(choice.own_microseconds, Time([&] { return own(shape, args); }, stream));
  WEFT_ASSIGN_OR_RETURN(std::vector<ProductAlgorithm> candidates,
                        library_->Candidates(shape, options_.workspace));
  if (candidates.size() > static_cast<size_t>(options_.candidates)) {
    candidates.resize(static_cast<size_t>(options_.candidates));
  }
  bool any = false;
  for (const ProductAlgorithm& algorithm : candidates) {
    if (algorithm.workspace > options_.workspace) continue;
    const absl::StatusOr<double> time = Time(
        [&] { return library_->Launch(shape, args, algorithm, workspace_.get(), stream); }, stream);
    // A way that the library offers and then refuses is one less.
    if (!time.ok()) continue;
    if (!std::exchange(any, true) || *time < choice.microseconds) {
      choice.microseconds = *time;
      choice.algorithm = algorithm;
    }
  }
  choice.library = any && choice.microseconds < (1 - options_.margin) * choice.own_microseconds;
  return choice;
}

absl::Status FastProducts::Choose(int32_t rows, const OwnKernel& own, StreamHandle stream) {
  chosen_.clear();
  stats_ = {};
  if (!workspace_) {
    absl::StatusOr<DeviceBuffer> buffer = MakeDeviceBuffer(device_, options_.workspace);
    if (!buffer.ok()) return absl::OkStatus();  // no room: own kernels
    workspace_ = *std::move(buffer);
  }
  ProductChoices choices;
  absl::Status file_error;
  if (!options_.cache_path.empty()) {
    absl::StatusOr<ProductChoices> loaded = ProductChoices::Load(options_.cache_path);
    if (loaded.ok()) {
      choices = *std::move(loaded);
    } else {
      file_error = loaded.status();
    }
  }
  const std::string& device = device_.info().name;
  const std::string library = library_->version();
  for (const auto& [matrix, weights] : matrices_) {
    for (const int32_t tuned : kTunedRows) {
      if (tuned > TunedRows(rows)) break;
      ProductShape shape = matrix;
      shape.rows = tuned;
      const ProductChoice* known = choices.Find(device, library, shape);
      if (known == nullptr) {
        const auto elements = static_cast<uint64_t>(tuned) * static_cast<uint64_t>(shape.cols);
        const absl::StatusOr<DeviceBuffer> x =
            MakeDeviceBuffer(device_, elements * (shape.type == DType::kBF16 ? 2 : 1));
        const absl::StatusOr<DeviceBuffer> scales =
            MakeDeviceBuffer(device_, static_cast<uint64_t>(tuned) * 4);
        const absl::StatusOr<DeviceBuffer> out = MakeDeviceBuffer(
            device_, static_cast<uint64_t>(tuned) * static_cast<uint64_t>(shape.outputs) * 4);
        if (!x.ok() || !scales.ok() || !out.ok()) continue;
        // Bytes of 0x38 and 0x3c are numbers near one in every type.
        WEFT_RETURN_IF_ERROR(device_.FillAsync(
            x->get(), 0x38, elements * (shape.type == DType::kBF16 ? 2 : 1), stream));
        WEFT_RETURN_IF_ERROR(
            device_.FillAsync(scales->get(), 0x3c, static_cast<uint64_t>(tuned) * 4, stream));
        ProductArgs args = weights;
        args.x = x->get();
        args.x_scales = shape.type == DType::kBF16 ? nullptr : static_cast<float*>(scales->get());
        args.out = static_cast<float*>(out->get());
        const absl::StatusOr<ProductChoice> choice = Decide(shape, args, own, stream);
        WEFT_RETURN_IF_ERROR(device_.Synchronize(stream));
        if (!choice.ok()) continue;
        ++stats_.timed;
        choices.Set(device, library, shape, *choice);
        known = choices.Find(device, library, shape);
      } else {
        ++stats_.known;
      }
      if (known->library && known->algorithm.workspace <= options_.workspace) {
        chosen_[shape] = *known;
        ++stats_.library;
      }
    }
  }
  if (!options_.cache_path.empty() && stats_.timed > 0) {
    const absl::Status saved = choices.Save(options_.cache_path);
    if (file_error.ok()) file_error = saved;
  }
  return file_error;
}

bool FastProducts::Multiply(const ProductShape& shape, const ProductArgs& args,
                            StreamHandle stream) {
  ProductShape tuned = shape;
  tuned.rows = TunedRows(shape.rows);
  const auto found = chosen_.find(tuned);
  if (found == chosen_.end()) return false;
  if (library_->Launch(shape, args, found->second.algorithm, workspace_.get(), stream).ok()) {
    return true;
  }
  chosen_.erase(found);  // refused once, for these rows: not asked again
  return false;
}

}  // namespace weft::gpu
