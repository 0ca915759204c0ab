// NVIDIA's collective library, loaded when it is first asked for (libnccl.so.2), so that nothing is
// linked to it. API: NVIDIA, "NCCL API".
#pragma once

#include <absl/status/status.h>
#include <absl/status/statusor.h>

#include <chrono>
#include <memory>
#include <string>

#include "libs/comm/device_communicator.h"
#include "libs/comm/nccl_abi.h"

namespace weft::comm {

// Thread safe.
class Nccl {
 public:
  // WEFT_NCCL_LIBRARY, when it is set, is the library's path. kUnavailable, with the loader's
  // words, when it is not there, lacks a function, or is older than 2.18.
  static absl::StatusOr<std::shared_ptr<const Nccl>> Open();
  static absl::StatusOr<std::shared_ptr<const Nccl>> Open(const std::string& path);
  ~Nccl();
  Nccl(const Nccl&) = delete;
  Nccl& operator=(const Nccl&) = delete;

  int version() const { return version_; }  // 23203: 2.32.3

  // What all ranks of a group are to say; of one group. 128 bytes.
  absl::StatusOr<std::string> MakeUniqueId() const;

  // As the library declares them.
  struct Functions {
    nccl::Result (*get_version)(int*);
    nccl::Result (*get_unique_id)(nccl::UniqueId*);
    nccl::Result (*init)(nccl::Comm**, int, nccl::UniqueId, int, nccl::Config*);
    nccl::Result (*abort)(nccl::Comm*);
    nccl::Result (*async_error)(nccl::Comm*, nccl::Result*);
    const char* (*error_string)(nccl::Result);
    const char* (*last_error)(nccl::Comm*);
    nccl::Result (*all_reduce)(const void*, void*, size_t, int, int, nccl::Comm*, void*);
    nccl::Result (*all_gather)(const void*, void*, size_t, int, nccl::Comm*, void*);
    nccl::Result (*broadcast)(const void*, void*, size_t, int, int, nccl::Comm*, void*);
    nccl::Result (*send)(const void*, size_t, int, int, nccl::Comm*, void*);
    nccl::Result (*recv)(void*, size_t, int, int, nccl::Comm*, void*);
  };
  const Functions& calls() const { return calls_; }

 private:
  Nccl() = default;
  absl::Status FindAll();

  void* library_ = nullptr;
  Functions calls_{};
  int version_ = 0;
};

struct NcclOptions {
  std::string unique_id;  // of MakeUniqueId, the same for all ranks of the group
  int rank = 0;
  int size = 1;
  // Where this rank's data is. Outlives the group.
  Device* device = nullptr;
  // How long a rank waits for the others to come, and for a call to be put on its stream.
  std::chrono::milliseconds timeout{30'000};
  // How often errors of the library's own threads (a peer's end, a network) are looked for.
  std::chrono::milliseconds watch{100};

  absl::Status Validate() const;
};

// Blocks until all ranks have come. The order of a sum is NCCL's, which depends on the size.
absl::StatusOr<std::unique_ptr<DeviceCommunicator>> JoinNcclGroup(std::shared_ptr<const Nccl> nccl,
                                                                  const NcclOptions& options);

}  // namespace weft::comm
