// Launching a test's kernel and looking at what was found.
#pragma once

#include "libs/device/ptx.h"
#include "tests/support/catch.h"

namespace weft::gpu {

template <typename P>
const simt::LaunchReport& RunKernel(void (*kernel)(P), const LaunchShape& shape, const P& params) {
  Launch(kernel, shape, nullptr, params);
  return simt::LastReport();
}

// One defect of this kind, in this test file, and nothing else.
inline bool OnlyFinds(const simt::LaunchReport& report, simt::DefectKind kind) {
  UNSCOPED_INFO(report.Text());
  if (report.defects.empty()) return false;
  for (const simt::Defect& d : report.defects) {
    if (d.kind != kind) return false;
  }
  return true;
}

inline bool FindsNothing(const simt::LaunchReport& report) {
  UNSCOPED_INFO(report.Text());
  return report.defects.empty();
}

struct IntParams {
  GlobalPtr<const int32_t> in;
  GlobalPtr<int32_t> out;
  int n;
};

}  // namespace weft::gpu
