#include "libs/ops/gpu_status.h"

#include "libs/base/status.h"

namespace weft::gpu {

absl::Status ToStatus(const LaunchResult& result) {
  if (result.error == nullptr) return absl::OkStatus();
  return Internal("kernel {}, grid {}x{}x{}, block {}x{}x{}, {} bytes of shared memory: {}",
                  result.kernel, result.grid[0], result.grid[1], result.grid[2], result.block[0],
                  result.block[1], result.block[2], result.shared_bytes, result.error);
}

}  // namespace weft::gpu
