#include "libs/comm/nccl.h"

#include <dlfcn.h>

#include <cstdlib>
#include <cstring>

#include "libs/base/status.h"

namespace weft::comm {
namespace {

// The first with all that Config asks for, tested by others for years.
constexpr int kOldest = 21'800;

}  // namespace

Nccl::~Nccl() {
  // Its threads may still run its code: the library stays.
}

absl::Status Nccl::FindAll() {
  absl::Status missing;
  const auto find = [&](auto& function, const char* symbol) {
    void* const found = dlsym(library_, symbol);
    if (found == nullptr && missing.ok()) missing = Unavailable("NCCL: no function {}", symbol);
    function = reinterpret_cast<std::decay_t<decltype(function)>>(found);
  };
  find(calls_.get_version, "ncclGetVersion");
  find(calls_.get_unique_id, "ncclGetUniqueId");
  find(calls_.init, "ncclCommInitRankConfig");
  find(calls_.abort, "ncclCommAbort");
  find(calls_.async_error, "ncclCommGetAsyncError");
  find(calls_.error_string, "ncclGetErrorString");
  find(calls_.last_error, "ncclGetLastError");
  find(calls_.all_reduce, "ncclAllReduce");
  find(calls_.all_gather, "ncclAllGather");
  find(calls_.broadcast, "ncclBroadcast");
  find(calls_.send, "ncclSend");
  find(calls_.recv, "ncclRecv");
  return missing;
}

absl::StatusOr<std::shared_ptr<const Nccl>> Nccl::Open() {
  const char* const path = std::getenv("WEFT_NCCL_LIBRARY");
  return Open(path == nullptr || *path == '\0' ? "libnccl.so.2" : path);
}

absl::StatusOr<std::shared_ptr<const Nccl>> Nccl::Open(const std::string& path) {
  std::shared_ptr<Nccl> nccl(new Nccl());
  nccl->library_ = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (nccl->library_ == nullptr) return Unavailable("NCCL: {}", dlerror());
  WEFT_RETURN_IF_ERROR(nccl->FindAll());
  if (nccl->calls_.get_version(&nccl->version_) != nccl::kSuccess || nccl->version_ < kOldest) {
    return Unavailable("NCCL: {} is version {}, expected {} or later", path, nccl->version_,
                       kOldest);
  }
  return std::shared_ptr<const Nccl>(std::move(nccl));
}

absl::StatusOr<std::string> Nccl::MakeUniqueId() const {
  nccl::UniqueId id;
  const nccl::Result result = calls_.get_unique_id(&id);
  if (result != nccl::kSuccess) {
    return Unavailable("ncclGetUniqueId: {}", calls_.error_string(result));
  }
  return std::string(id.bytes, sizeof(id.bytes));
}

}  // namespace weft::comm
