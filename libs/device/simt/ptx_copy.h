// Twins of cp.async, mbarrier and the bulk copies. See ptx.h for the contracts.
#pragma once

#include <cstdint>

#include "libs/device/simt/async.h"
#include "libs/device/simt/kernel_emulated.h"

namespace weft::gpu {

template <int kBytes, typename T, typename U>
void CopyAsyncZeroFill(SharedPtr<T> to, GlobalPtr<U> from, int bytes,
                       simt::Here here = simt::Here()) {
  static_assert(kBytes == 4 || kBytes == 8 || kBytes == 16);
  simt::StartCopy(simt::Place::Of(to), simt::Place::Of(from), static_cast<uint32_t>(bytes),
                  static_cast<uint32_t>(kBytes - bytes), here.site);
}
template <int kBytes, typename T, typename U>
void CopyAsync(SharedPtr<T> to, GlobalPtr<U> from, simt::Here here = simt::Here()) {
  CopyAsyncZeroFill<kBytes>(to, from, kBytes, here);
}
inline void CopyAsyncCommit() { simt::CommitCopies(); }
template <int kLeft>
void CopyAsyncWait() {
  simt::WaitCopies(kLeft);
}

inline void MbarrierInit(SharedPtr<uint64_t> barrier, uint32_t arrivals,
                         simt::Here here = simt::Here()) {
  simt::InitBarrier(simt::Place::Of(barrier), arrivals, here.site);
}
inline void FenceMbarrierInit() {}
inline void MbarrierArrive(SharedPtr<uint64_t> barrier, simt::Here here = simt::Here()) {
  simt::Arrive(simt::Place::Of(barrier), 0, true, here.site);
}
inline void MbarrierArriveExpect(SharedPtr<uint64_t> barrier, uint32_t bytes,
                                 simt::Here here = simt::Here()) {
  simt::Arrive(simt::Place::Of(barrier), bytes, true, here.site);
}
inline void MbarrierExpect(SharedPtr<uint64_t> barrier, uint32_t bytes,
                           simt::Here here = simt::Here()) {
  simt::Arrive(simt::Place::Of(barrier), bytes, false, here.site);
}
inline bool MbarrierTryWait(SharedPtr<uint64_t> barrier, uint32_t parity,
                            simt::Here here = simt::Here()) {
  if (simt::TryWait(simt::Place::Of(barrier), parity, here.site)) return true;
  simt::Poll("an mbarrier", here.site);
  return false;
}
inline void MbarrierWait(SharedPtr<uint64_t> barrier, uint32_t parity,
                         simt::Here here = simt::Here()) {
  while (!MbarrierTryWait(barrier, parity, here)) {
  }
}
inline void CopyAsyncArrive(SharedPtr<uint64_t> barrier, simt::Here here = simt::Here()) {
  simt::ArriveAfterCopies(simt::Place::Of(barrier), here.site);
}

template <typename T, typename U>
void BulkLoad(SharedPtr<T> to, GlobalPtr<U> from, uint32_t bytes, SharedPtr<uint64_t> barrier,
              simt::Here here = simt::Here()) {
  simt::StartBulkLoad(simt::Place::Of(to), simt::Place::Of(from), bytes, simt::Place::Of(barrier),
                      here.site);
}
template <typename T, typename U>
void BulkStore(GlobalPtr<T> to, SharedPtr<U> from, uint32_t bytes, simt::Here here = simt::Here()) {
  simt::StartBulkStore(simt::Place::Of(to), simt::Place::Of(from), bytes, here.site);
}

// A pack cannot be followed by a default argument: the map brings the place of the call.
struct MapHere {
  const TensorMap& map;
  simt::Site site;
  MapHere(const TensorMap& m,  // NOLINT(google-explicit-constructor): stands in for the map
          const char* file = __builtin_FILE(), int line = __builtin_LINE())
      : map(m), site{file, line} {}
};
template <typename T, typename... C>
void TensorLoad(SharedPtr<T> to, const MapHere& map, SharedPtr<uint64_t> barrier, C... at) {
  static_assert(sizeof...(C) >= 1 && sizeof...(C) <= 5);
  const int c[] = {static_cast<int>(at)...};
  simt::StartTensorLoad(simt::Place::Of(to), map.map, simt::Place::Of(barrier), c, sizeof...(C),
                        map.site);
}
template <typename T, typename... C>
void TensorStore(const MapHere& map, SharedPtr<T> from, C... at) {
  static_assert(sizeof...(C) >= 1 && sizeof...(C) <= 5);
  const int c[] = {static_cast<int>(at)...};
  simt::StartTensorStore(map.map, simt::Place::Of(from), c, sizeof...(C), false, map.site);
}
template <typename T, typename... C>
void TensorReduceAdd(const MapHere& map, SharedPtr<T> from, C... at) {
  static_assert(sizeof...(C) >= 1 && sizeof...(C) <= 5);
  const int c[] = {static_cast<int>(at)...};
  simt::StartTensorStore(map.map, simt::Place::Of(from), c, sizeof...(C), true, map.site);
}
inline void TensorPrefetch(const TensorMap&) {}

inline void BulkCommit() { simt::CommitStores(); }
template <int kLeft>
void BulkWait() {
  simt::WaitStores(kLeft, false);
}
template <int kLeft>
void BulkWaitRead() {
  simt::WaitStores(kLeft, true);
}
inline void FenceProxyAsync() { simt::FenceAsyncProxy(); }

}  // namespace weft::gpu
