// Twins of the warp matrix primitives. See ptx.h for the contracts.
#pragma once

#include <cstdint>
#include <cstring>

#include "libs/device/number_types.h"
#include "libs/device/simt/kernel_emulated.h"

namespace weft::gpu {

namespace matrix_internal {

// How the elements of a register are decoded: kCount of them, the lowest bits first.
struct OfBf16 {
  static constexpr int kCount = 2;
  using Sum = double;
  static float At(uint32_t r, int i) { return ToFloat(Bf16{static_cast<uint16_t>(r >> (16 * i))}); }
};
struct OfHalf {
  static constexpr int kCount = 2;
  using Sum = double;
  static float At(uint32_t r, int i) { return ToFloat(Half{static_cast<uint16_t>(r >> (16 * i))}); }
};
struct OfE4m3 {
  static constexpr int kCount = 4;
  using Sum = double;
  static float At(uint32_t r, int i) { return ToFloat(E4m3{static_cast<uint8_t>(r >> (8 * i))}); }
};
struct OfS8 {
  static constexpr int kCount = 4;
  using Sum = int32_t;
  static int32_t At(uint32_t r, int i) { return static_cast<int8_t>(r >> (8 * i)); }
};

// m16n8, K of 8 registers: 16 or 32 elements. The products are summed in double (or exactly, in
// int32) and added to d once: mma's own order and rounding are not specified.
template <typename E, typename D>
void Mma(D (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2], const char* name,
         simt::Site site) {
  struct Operand {
    uint32_t a[4];
    uint32_t b[2];
  } operand;
  std::memcpy(operand.a, a, sizeof(operand.a));
  std::memcpy(operand.b, b, sizeof(operand.b));
  const simt::WarpOperation op(~0u, name, simt::Instruction::kMma, &operand, sizeof(operand), site);
  const uint32_t lane = simt::Current().lane;
  const uint32_t g = lane / 4;
  const uint32_t t = lane % 4;
  typename E::Sum sums[4] = {};
  for (uint32_t part = 0; part < 4; ++part) {  // the lanes that hold k = part * kCount and up
    const Operand rows = op.From<Operand>(g * 4 + part);
    for (uint32_t column = 0; column < 2; ++column) {
      const Operand columns = op.From<Operand>((2 * t + column) * 4 + part);
      for (int half = 0; half < 2; ++half) {
        for (int i = 0; i < E::kCount; ++i) {
          const auto y = static_cast<typename E::Sum>(E::At(columns.b[half], i));
          sums[column] += static_cast<typename E::Sum>(E::At(rows.a[2 * half], i)) * y;
          sums[2 + column] += static_cast<typename E::Sum>(E::At(rows.a[2 * half + 1], i)) * y;
        }
      }
    }
  }
  for (int i = 0; i < 4; ++i) {
    if constexpr (std::is_same_v<D, int32_t>) {
      d[i] = static_cast<int32_t>(static_cast<uint32_t>(d[i]) + static_cast<uint32_t>(sums[i]));
    } else {
      d[i] = static_cast<D>(static_cast<double>(d[i]) + sums[i]);
    }
  }
}

// What a lane gave to ldmatrix or stmatrix.
struct RowOperand {
  unsigned char* address;
  simt::Region* region;
  uint32_t r[4];
};

// Checks the row that this lane gives an address for. False: leave the row alone.
template <typename T>
bool CheckRow(const SharedPtr<T>& row, simt::Access access, simt::Instruction instruction,
              simt::Site site) {
  simt::Thread& thread = simt::Current();
  thread.site = site;
  if (row.region() == nullptr) {
    simt::CurrentGrid().Report(simt::DefectKind::kNotDeviceMemory, &thread, site,
                               [] { return std::string("a matrix row at a null address"); });
    return false;
  }
  const uintptr_t at = reinterpret_cast<uintptr_t>(row.address());
  if (!row.region()->Check(at, 16, 16, access, simt::ThreadActor(thread), site)) return false;
  if (thread.block->grid.options.counts) {
    thread.block->warps[thread.id / 32].log.Add(thread.lane, {at, site, 16, instruction, true});
  }
  return true;
}

template <int N, typename T>
void LoadRows(uint32_t (&r)[N], const SharedPtr<T>& row, bool trans, simt::Site site) {
  static_assert(N == 1 || N == 2 || N == 4);
  simt::Thread& thread = simt::Current();
  RowOperand operand{};
  if (thread.lane < 8 * N &&
      CheckRow(row, simt::Access::kRead, simt::Instruction::kLoadMatrix, site)) {
    std::memcpy(operand.r, row.address(), 16);
  }
  const simt::WarpOperation op(~0u, trans ? "ldmatrix.trans" : "ldmatrix",
                               simt::Instruction::kCount, &operand, sizeof(operand), site);
  const uint32_t g = thread.lane / 4;
  const uint32_t t = thread.lane % 4;
  for (uint32_t i = 0; i < N; ++i) {
    if (!trans) {
      r[i] = op.From<RowOperand>(8 * i + g).r[t];
      continue;
    }
    const auto low = op.From<RowOperand>(8 * i + 2 * t).r[g / 2] >> (16 * (g % 2)) & 0xffffu;
    const auto high = op.From<RowOperand>(8 * i + 2 * t + 1).r[g / 2] >> (16 * (g % 2)) & 0xffffu;
    r[i] = low | high << 16;
  }
}

template <int N, typename T>
void StoreRows(const SharedPtr<T>& row, const uint32_t (&r)[N], bool trans, simt::Site site) {
  static_assert(N == 1 || N == 2 || N == 4);
  simt::Thread& thread = simt::Current();
  RowOperand operand{};
  std::memcpy(operand.r, r, sizeof(r));
  const bool gives_row = thread.lane < 8 * N &&
                         CheckRow(row, simt::Access::kWrite, simt::Instruction::kStoreMatrix, site);
  const simt::WarpOperation op(~0u, trans ? "stmatrix.trans" : "stmatrix",
                               simt::Instruction::kCount, &operand, sizeof(operand), site);
  if (!gives_row) return;
  const uint32_t matrix = thread.lane / 8;
  const uint32_t j = thread.lane % 8;
  uint16_t values[8];
  for (uint32_t c = 0; c < 8; ++c) {
    const uint32_t g = trans ? c : j;
    const uint32_t pair = trans ? j : c;
    const uint32_t bits = op.From<RowOperand>(4 * g + pair / 2).r[matrix];
    values[c] = static_cast<uint16_t>(bits >> (16 * (pair % 2)));
  }
  std::memcpy(static_cast<void*>(const_cast<std::remove_const_t<T>*>(row.address())), values, 16);
}

}  // namespace matrix_internal

inline void MmaBf16(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2],
                    simt::Here here = simt::Here()) {
  matrix_internal::Mma<matrix_internal::OfBf16>(d, a, b, "mma.bf16", here.site);
}
inline void MmaHalf(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2],
                    simt::Here here = simt::Here()) {
  matrix_internal::Mma<matrix_internal::OfHalf>(d, a, b, "mma.f16", here.site);
}
inline void MmaE4m3(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2],
                    simt::Here here = simt::Here()) {
  matrix_internal::Mma<matrix_internal::OfE4m3>(d, a, b, "mma.e4m3", here.site);
}
inline void MmaS8(int32_t (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2],
                  simt::Here here = simt::Here()) {
  matrix_internal::Mma<matrix_internal::OfS8>(d, a, b, "mma.s8", here.site);
}

template <int N, typename T>
void LoadMatrix(uint32_t (&r)[N], SharedPtr<T> row, simt::Here here = simt::Here()) {
  matrix_internal::LoadRows(r, row, false, here.site);
}
template <int N, typename T>
void LoadMatrixTrans(uint32_t (&r)[N], SharedPtr<T> row, simt::Here here = simt::Here()) {
  matrix_internal::LoadRows(r, row, true, here.site);
}
template <int N, typename T>
void StoreMatrix(SharedPtr<T> row, const uint32_t (&r)[N], simt::Here here = simt::Here()) {
  matrix_internal::StoreRows(row, r, false, here.site);
}
template <int N, typename T>
void StoreMatrixTrans(SharedPtr<T> row, const uint32_t (&r)[N], simt::Here here = simt::Here()) {
  matrix_internal::StoreRows(row, r, true, here.site);
}

}  // namespace weft::gpu
