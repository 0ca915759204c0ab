// A library with NCCL's functions for ranks that are threads of one process, built as
// libnccl_stand_in.so: what nccl_test.cc opens where there is no GPU. Calls do what NCCL says they
// do, on memory of the host, on a thread of each communicator that stands for its stream; as with
// NCCL they return before they are done. Two functions are the test's: weft_nccl_synchronize waits
// for a rank's stream, weft_nccl_break makes its next question for errors find one.
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstring>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <queue>
#include <string>
#include <thread>
#include <vector>

#include "libs/comm/nccl_abi.h"

using weft::nccl::Config;
using weft::nccl::Result;
using weft::nccl::UniqueId;

namespace {

constexpr Result kRemoteError{static_cast<Result>(6)};

// Where ranks meet. One call at a time is going on among them.
struct Group {
  int size = 0;
  std::mutex mutex;
  std::condition_variable changed;
  int joined = 0;
  bool gone = false;
  std::vector<std::string> given;  // [size], of the call that goes on
  int came = 0, left = 0;
  std::map<std::pair<int, int>, std::queue<std::string>> messages;  // from, to
};

std::mutex groups_mutex;
std::map<std::string, std::shared_ptr<Group>> groups;
std::atomic<int> ids{0};

}  // namespace

struct weft::nccl::Comm {
  std::shared_ptr<Group> group;
  int rank = 0;
  std::mutex mutex;
  std::condition_variable changed;
  std::queue<std::function<void()>> work;
  bool busy = false, stop = false;
  Result broken = kSuccess;
  std::thread stream;
};

using weft::nccl::Comm;

namespace {

std::mutex comms_mutex;
std::vector<Comm*> comms;

void RunStream(Comm* comm) {
  std::unique_lock lock(comm->mutex);
  while (true) {
    comm->changed.wait(lock, [&] { return comm->stop || !comm->work.empty(); });
    if (comm->work.empty()) return;
    auto one = std::move(comm->work.front());
    comm->work.pop();
    comm->busy = true;
    lock.unlock();
    one();
    lock.lock();
    comm->busy = false;
    comm->changed.notify_all();
  }
}

Result Put(Comm* comm, std::function<void()> work) {
  std::lock_guard lock(comm->mutex);
  if (comm->broken != weft::nccl::kSuccess) return comm->broken;
  comm->work.push(std::move(work));
  comm->changed.notify_all();
  return weft::nccl::kInProgress;
}

// All ranks give something; `take` sees what all gave. False when the group is gone.
template <typename Take>
bool Meet(Comm* comm, std::string mine, Take&& take) {
  Group& group = *comm->group;
  std::unique_lock lock(group.mutex);
  group.changed.wait(lock, [&] { return group.gone || group.left == 0; });
  if (group.gone) return false;
  group.given.resize(static_cast<size_t>(group.size));
  group.given[static_cast<size_t>(comm->rank)] = std::move(mine);
  if (++group.came == group.size) group.left = group.size, group.came = 0;
  group.changed.notify_all();
  group.changed.wait(lock, [&] { return group.gone || group.left > 0; });
  if (group.gone) return false;
  take(group.given);
  // Nobody begins the next call before all have left this one.
  --group.left;
  group.changed.notify_all();
  group.changed.wait(lock, [&] { return group.gone || group.left == 0; });
  return true;
}

std::string Bytes(const void* data, size_t bytes) {
  return std::string(static_cast<const char*>(data), bytes);
}

}  // namespace

extern "C" {
Result ncclGetVersion(int* version) {
  *version = 23203;
  return weft::nccl::kSuccess;
}
Result ncclGetUniqueId(UniqueId* id) {
  std::memset(id->bytes, 0, sizeof(id->bytes));
  const std::string text = "group " + std::to_string(++ids);
  std::memcpy(id->bytes, text.data(), text.size());
  return weft::nccl::kSuccess;
}
Result ncclCommInitRankConfig(Comm** comm, int size, UniqueId id, int rank, Config* config) {
  if (config->size != sizeof(Config) || config->magic != 0xcafebeef || config->blocking != 0) {
    return weft::nccl::kInvalidArgument;
  }
  auto* own = new Comm;
  own->rank = rank;
  {
    std::lock_guard lock(groups_mutex);
    std::shared_ptr<Group>& group = groups[Bytes(id.bytes, sizeof(id.bytes))];
    if (group == nullptr) group = std::make_shared<Group>();
    group->size = size;
    own->group = group;
  }
  {
    std::lock_guard lock(own->group->mutex);
    ++own->group->joined;
  }
  own->stream = std::thread(RunStream, own);
  {
    std::lock_guard lock(comms_mutex);
    comms.push_back(own);
  }
  *comm = own;
  return weft::nccl::kInProgress;
}
Result ncclCommAbort(Comm* comm) {
  {
    std::lock_guard lock(comms_mutex);
    std::erase(comms, comm);
  }
  {
    std::lock_guard lock(comm->group->mutex);
    comm->group->gone = true;
  }
  comm->group->changed.notify_all();
  {
    std::lock_guard lock(comm->mutex);
    comm->stop = true;
  }
  comm->changed.notify_all();
  comm->stream.join();
  delete comm;
  return weft::nccl::kSuccess;
}
Result ncclCommGetAsyncError(Comm* comm, Result* error) {
  std::lock_guard lock(comm->mutex);
  std::lock_guard group_lock(comm->group->mutex);
  const bool all = comm->group->joined == comm->group->size;
  *error = comm->broken != weft::nccl::kSuccess ? comm->broken
           : all                                ? weft::nccl::kSuccess
                                                : weft::nccl::kInProgress;
  return weft::nccl::kSuccess;
}
const char* ncclGetErrorString(Result result) {
  return result == kRemoteError ? "remote process exited or there was a network error"
                                : "invalid argument";
}
const char* ncclGetLastError(Comm*) { return "stand-in"; }

Result ncclAllReduce(const void* from, void* to, size_t count, int type, int op, Comm* comm,
                     void*) {
  if (type != weft::nccl::kFloat32 || op != weft::nccl::kSum) return weft::nccl::kInvalidArgument;
  return Put(comm, [=] {
    Meet(comm, Bytes(from, count * sizeof(float)), [&](const std::vector<std::string>& all) {
      auto* out = static_cast<float*>(to);
      for (size_t i = 0; i < count; ++i) {
        float sum = 0;
        for (const std::string& one : all) {
          float value;
          std::memcpy(&value, one.data() + i * sizeof(float), sizeof(value));
          sum += value;
        }
        out[i] = sum;
      }
    });
  });
}
Result ncclAllGather(const void* from, void* to, size_t count, int type, Comm* comm, void*) {
  if (type != weft::nccl::kFloat32) return weft::nccl::kInvalidArgument;
  return Put(comm, [=] {
    Meet(comm, Bytes(from, count * sizeof(float)), [&](const std::vector<std::string>& all) {
      auto* out = static_cast<char*>(to);
      for (const std::string& one : all) out = std::copy(one.begin(), one.end(), out);
    });
  });
}
Result ncclBroadcast(const void* from, void* to, size_t count, int type, int root, Comm* comm,
                     void*) {
  if (type != weft::nccl::kUint8) return weft::nccl::kInvalidArgument;
  return Put(comm, [=] {
    Meet(comm, Bytes(from, count), [&](const std::vector<std::string>& all) {
      std::memcpy(to, all[static_cast<size_t>(root)].data(), count);
    });
  });
}
Result ncclSend(const void* from, size_t count, int type, int to, Comm* comm, void*) {
  if (type != weft::nccl::kFloat32) return weft::nccl::kInvalidArgument;
  return Put(comm, [=] {
    std::lock_guard lock(comm->group->mutex);
    comm->group->messages[{comm->rank, to}].push(Bytes(from, count * sizeof(float)));
    comm->group->changed.notify_all();
  });
}
Result ncclRecv(void* to, size_t count, int type, int from, Comm* comm, void*) {
  if (type != weft::nccl::kFloat32) return weft::nccl::kInvalidArgument;
  return Put(comm, [=] {
    std::unique_lock lock(comm->group->mutex);
    auto& waiting = comm->group->messages[{from, comm->rank}];
    comm->group->changed.wait(lock, [&] { return comm->group->gone || !waiting.empty(); });
    if (waiting.empty()) return;
    std::memcpy(to, waiting.front().data(), count * sizeof(float));
    waiting.pop();
  });
}

// Of the newest group: until a rank's stream has done everything.
void weft_nccl_synchronize(int rank) {
  Comm* found = nullptr;
  {
    std::lock_guard lock(comms_mutex);
    for (Comm* comm : comms) {
      if (comm->rank == rank) found = comm;
    }
  }
  if (found == nullptr) return;
  std::unique_lock lock(found->mutex);
  found->changed.wait(lock, [&] { return found->work.empty() && !found->busy; });
}
void weft_nccl_break(int rank) {
  std::lock_guard lock(comms_mutex);
  for (Comm* comm : comms) {
    if (comm->rank != rank) continue;
    std::lock_guard own(comm->mutex);
    comm->broken = kRemoteError;
  }
}
}
