#include "libs/ops/cublas_lt.h"

#include <cublasLt.h>
#include <dlfcn.h>

#include <cstdlib>
#include <cstring>
#include <utility>

#include "libs/base/status.h"

namespace weft::gpu {
namespace {

// WEFT_CUBLASLT_LIBRARY, when it is set, is the library's path; else it is the loader's to find.
std::vector<std::string> Names() {
  const char* const path = std::getenv("WEFT_CUBLASLT_LIBRARY");
  if (path != nullptr && *path != '\0') return {path};
  return {"libcublasLt.so.13", "libcublasLt.so"};
}

static_assert(sizeof(cublasLtMatmulAlgo_t) == sizeof(ProductAlgorithm::bits));

struct Functions {
  void* handle = nullptr;
  decltype(&cublasLtCreate) create = nullptr;
  decltype(&cublasLtDestroy) destroy = nullptr;
  decltype(&cublasLtGetVersion) version = nullptr;
  decltype(&cublasLtGetStatusString) status_string = nullptr;
  decltype(&cublasLtMatmul) matmul = nullptr;
  decltype(&cublasLtMatmulAlgoGetHeuristic) heuristic = nullptr;
  decltype(&cublasLtMatmulDescInit_internal) desc_init = nullptr;
  decltype(&cublasLtMatmulDescSetAttribute) desc_set = nullptr;
  decltype(&cublasLtMatrixLayoutInit_internal) layout_init = nullptr;
  decltype(&cublasLtMatmulPreferenceInit_internal) preference_init = nullptr;
  decltype(&cublasLtMatmulPreferenceSetAttribute) preference_set = nullptr;

  template <typename F>
  absl::Status Find(F& function, const char* symbol) {
    function = reinterpret_cast<F>(dlsym(handle, symbol));
    if (function == nullptr) return Unavailable("cuBLASLt has no {}", symbol);
    return absl::OkStatus();
  }
  absl::Status FindAll() {
    WEFT_RETURN_IF_ERROR(Find(create, "cublasLtCreate"));
    WEFT_RETURN_IF_ERROR(Find(destroy, "cublasLtDestroy"));
    WEFT_RETURN_IF_ERROR(Find(version, "cublasLtGetVersion"));
    WEFT_RETURN_IF_ERROR(Find(status_string, "cublasLtGetStatusString"));
    WEFT_RETURN_IF_ERROR(Find(matmul, "cublasLtMatmul"));
    WEFT_RETURN_IF_ERROR(Find(heuristic, "cublasLtMatmulAlgoGetHeuristic"));
    WEFT_RETURN_IF_ERROR(Find(desc_init, "cublasLtMatmulDescInit_internal"));
    WEFT_RETURN_IF_ERROR(Find(desc_set, "cublasLtMatmulDescSetAttribute"));
    WEFT_RETURN_IF_ERROR(Find(layout_init, "cublasLtMatrixLayoutInit_internal"));
    WEFT_RETURN_IF_ERROR(Find(preference_init, "cublasLtMatmulPreferenceInit_internal"));
    return Find(preference_set, "cublasLtMatmulPreferenceSetAttribute");
  }
};

// What one call is described by; on the caller's stack.
struct Problem {
  cublasLtMatmulDescOpaque_t product;
  cublasLtMatrixLayoutOpaque_t weights, x, out;
};

class CublasLt final : public ProductLibrary {
 public:
  explicit CublasLt(Functions functions) : f_(functions) {}
  ~CublasLt() override {
    if (handle_ != nullptr) f_.destroy(handle_);
    // The library stays: its threads and handlers outlive any handle.
  }

  absl::Status Init() { return Check(f_.create(&handle_), "cublasLtCreate"); }

  std::string version() const override { return fmt::format("cublasLt-{}", f_.version()); }

  absl::StatusOr<std::vector<ProductAlgorithm>> Candidates(const ProductShape& shape,
                                                           uint64_t workspace) override {
    Problem problem;
    // Heuristics look at which pointers are set, not at what they point to.
    WEFT_RETURN_IF_ERROR(Describe(shape, {}, problem));
    cublasLtMatmulPreferenceOpaque_t preference;
    WEFT_RETURN_IF_ERROR(
        Check(f_.preference_init(&preference, sizeof(preference)), "cublasLtMatmulPreferenceInit"));
    const size_t most = workspace;
    WEFT_RETURN_IF_ERROR(
        Check(f_.preference_set(&preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, &most,
                                sizeof(most)),
              "the workspace's limit"));
    constexpr int kMost = 16;
    cublasLtMatmulHeuristicResult_t results[kMost] = {};
    int found = 0;
    const cublasStatus_t status =
        f_.heuristic(handle_, &problem.product, &problem.weights, &problem.x, &problem.out,
                     &problem.out, &preference, kMost, results, &found);
    if (status == CUBLAS_STATUS_NOT_SUPPORTED) return std::vector<ProductAlgorithm>();
    WEFT_RETURN_IF_ERROR(Check(status, "cublasLtMatmulAlgoGetHeuristic"));
    std::vector<ProductAlgorithm> out;
    for (int i = 0; i < found; ++i) {
      if (results[i].state != CUBLAS_STATUS_SUCCESS) continue;
      ProductAlgorithm algorithm;
      std::memcpy(algorithm.bits.data(), &results[i].algo, sizeof(algorithm.bits));
      algorithm.workspace = results[i].workspaceSize;
      out.push_back(algorithm);
    }
    return out;
  }

  absl::Status Launch(const ProductShape& shape, const ProductArgs& args,
                      const ProductAlgorithm& algorithm, void* workspace, void* stream) override {
    Problem problem;
    WEFT_RETURN_IF_ERROR(Describe(shape, args, problem));
    cublasLtMatmulAlgo_t algo;
    std::memcpy(&algo, algorithm.bits.data(), sizeof(algo));
    const float one = 1, zero = 0;
    return Check(f_.matmul(handle_, &problem.product, &one, args.weights, &problem.weights, args.x,
                           &problem.x, &zero, args.out, &problem.out, args.out, &problem.out, &algo,
                           workspace, algorithm.workspace, static_cast<cudaStream_t>(stream)),
                 "cublasLtMatmul");
  }

 private:
  absl::Status Check(cublasStatus_t status, const char* what) const {
    if (status == CUBLAS_STATUS_SUCCESS) return absl::OkStatus();
    return Internal("{}: {}", what, f_.status_string(status));
  }
  template <typename T>
  absl::Status Set(Problem& problem, cublasLtMatmulDescAttributes_t attribute, const T& value) {
    return Check(f_.desc_set(&problem.product, attribute, &value, sizeof(value)),
                 "cublasLtMatmulDescSetAttribute");
  }

  absl::Status Describe(const ProductShape& shape, const ProductArgs& args, Problem& problem) {
    const bool bytes = shape.type == DType::kF8E4M3;
    const cudaDataType_t type = bytes ? CUDA_R_8F_E4M3 : CUDA_R_16BF;
    WEFT_RETURN_IF_ERROR(Check(
        f_.desc_init(&problem.product, sizeof(problem.product), CUBLAS_COMPUTE_32F, CUDA_R_32F),
        "cublasLtMatmulDescInit"));
    WEFT_RETURN_IF_ERROR(Set(problem, CUBLASLT_MATMUL_DESC_TRANSA, int32_t{CUBLAS_OP_T}));
    if (args.bias != nullptr) {
      WEFT_RETURN_IF_ERROR(
          Set(problem, CUBLASLT_MATMUL_DESC_EPILOGUE, uint32_t{CUBLASLT_EPILOGUE_BIAS}));
      WEFT_RETURN_IF_ERROR(Set(problem, CUBLASLT_MATMUL_DESC_BIAS_POINTER, args.bias));
      WEFT_RETURN_IF_ERROR(Set(problem, CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE, int32_t{CUDA_R_32F}));
    }
    if (bytes) {
      const int32_t each = CUBLASLT_MATMUL_MATRIX_SCALE_OUTER_VEC_32F;
      WEFT_RETURN_IF_ERROR(Set(problem, CUBLASLT_MATMUL_DESC_A_SCALE_MODE, each));
      WEFT_RETURN_IF_ERROR(Set(problem, CUBLASLT_MATMUL_DESC_B_SCALE_MODE, each));
      WEFT_RETURN_IF_ERROR(Set(problem, CUBLASLT_MATMUL_DESC_A_SCALE_POINTER, args.channel));
      WEFT_RETURN_IF_ERROR(Set(problem, CUBLASLT_MATMUL_DESC_B_SCALE_POINTER, args.x_scales));
    }
    const auto layout = [&](cublasLtMatrixLayoutOpaque_t& of, cudaDataType_t element, int64_t rows,
                            int64_t columns) {
      return Check(f_.layout_init(&of, sizeof(of), element, static_cast<uint64_t>(rows),
                                  static_cast<uint64_t>(columns), rows),
                   "cublasLtMatrixLayoutInit");
    };
    WEFT_RETURN_IF_ERROR(layout(problem.weights, type, shape.cols, shape.outputs));
    WEFT_RETURN_IF_ERROR(layout(problem.x, type, shape.cols, shape.rows));
    return layout(problem.out, CUDA_R_32F, shape.outputs, shape.rows);
  }

  const Functions f_;
  cublasLtHandle_t handle_ = nullptr;
};

}  // namespace

absl::StatusOr<std::unique_ptr<ProductLibrary>> OpenCublasLt(Device& device) {
  Functions functions;
  std::string looked_for;
  for (const std::string& name : Names()) {
    functions.handle = dlopen(name.c_str(), RTLD_NOW | RTLD_LOCAL);
    if (functions.handle != nullptr) break;
    looked_for += fmt::format("{}{}", looked_for.empty() ? "" : "; ", dlerror());
  }
  if (functions.handle == nullptr) {
    return Unavailable("{}: no cuBLASLt: {}", device.info().name, looked_for);
  }
  WEFT_RETURN_IF_ERROR(functions.FindAll());
  auto library = std::make_unique<CublasLt>(functions);
  WEFT_RETURN_IF_ERROR(library->Init());
  return library;
}

}  // namespace weft::gpu
