// GpuContext: FP8 activations and a library's products, of Numerics::kFast.
#include <algorithm>
#include <utility>

#include "libs/base/status.h"
#include "libs/ops/gpu_context.h"
#include "libs/ops/gpu_status.h"
#include "libs/ops/matmul_fp8_wgmma_gpu.h"
#include "libs/ops/matmul_wgmma_gpu.h"

namespace weft {

void GpuContext::UseLibrary(std::unique_ptr<gpu::ProductLibrary> library,
                            gpu::FastProducts::Options options) {
  WEFT_CHECK(numerics_ == gpu::Numerics::kFast && matrices_.empty());
  products_ = std::make_unique<gpu::FastProducts>(*device_, std::move(library), std::move(options));
}

void GpuContext::AddProduct(const Weight& weight, bool blocks) {
  if (numerics_ != gpu::Numerics::kFast || device_->info().major != 9) return;
  const bool fp8 = weight.type == DType::kF8E4M3;
  if (fp8) {
    fp8_cols_ = std::max(fp8_cols_, weight.cols);
    fp8_blocks_ |= blocks;
  }
  if (products_ == nullptr || blocks || (!fp8 && weight.type != DType::kBF16)) return;
  const auto* scales = reinterpret_cast<const float*>(weight.raw + weight.rows * weight.cols);
  products_->Add(weight.type, weight.rows, weight.cols,
                 {.weights = weight.raw, .channel = fp8 ? scales : nullptr});
}

absl::Status GpuContext::ChooseProducts() {
  if (products_ == nullptr) return absl::OkStatus();
  const auto own = [this](const gpu::ProductShape& shape, const gpu::ProductArgs& args) {
    if (shape.type == DType::kBF16) {
      return gpu::ToStatus(gpu::WgmmaMatmul({.weights = static_cast<const uint8_t*>(args.weights),
                                             .x = static_cast<const uint16_t*>(args.x),
                                             .bias = args.bias,
                                             .out = args.out,
                                             .outputs = shape.outputs,
                                             .cols = shape.cols,
                                             .row_bytes = shape.cols * 2,
                                             .rows = shape.rows},
                                            stream_.get()));
    }
    return gpu::ToStatus(
        gpu::WgmmaFp8({.product = {.weights = static_cast<const uint8_t*>(args.weights),
                                   .channel = args.channel,
                                   .bias = args.bias,
                                   .out = args.out,
                                   .outputs = shape.outputs,
                                   .cols = shape.cols,
                                   .rows = shape.rows},
                       .x = {static_cast<uint8_t*>(const_cast<void*>(args.x)),
                             const_cast<float*>(args.x_scales), 1}},
                      stream_.get()));
  };
  products_status_ = products_->Choose(limits_.rows, own, stream_.get());
  // What timing left on the stream is the device's own trouble, the file's is not.
  return device_->Synchronize(stream_.get());
}

gpu::Fp8Out GpuContext::TakeFp8(const uint16_t* bf16, int64_t rows, int64_t width) {
  if (fp8_of_ == bf16) fp8_of_ = nullptr;
  if (fp8_codes_.bytes == 0 || bf16 == nullptr || width > fp8_cols_) return {};
  if (width % (fp8_blocks_ ? gpu::kFp8Group : 16) != 0) return {};
  fp8_of_ = bf16;
  fp8_rows_ = rows;
  fp8_ = {steps_->At(fp8_codes_), steps_->At<float>(fp8_scales_), fp8_blocks_ ? 0 : 1};
  return fp8_;
}

std::optional<gpu::Fp8Out> GpuContext::Fp8Of(const uint16_t* bf16, int64_t rows) const {
  if (bf16 == nullptr || fp8_of_ != bf16 || fp8_rows_ != rows) return std::nullopt;
  return fp8_;
}

}  // namespace weft
