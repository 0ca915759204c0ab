#include "libs/device/simt/report.h"

#include <fmt/format.h>

#include <iterator>

namespace weft::simt {

const char* Name(DefectKind kind) {
  switch (kind) {
    case DefectKind::kOutOfBounds:
      return "out of bounds";
    case DefectKind::kNotDeviceMemory:
      return "not device memory";
    case DefectKind::kMisaligned:
      return "misaligned";
    case DefectKind::kUninitialised:
      return "uninitialised";
    case DefectKind::kRace:
      return "race";
    case DefectKind::kMissingProxyFence:
      return "missing proxy fence";
    case DefectKind::kDivergentBarrier:
      return "divergent barrier";
    case DefectKind::kWarpMismatch:
      return "warp mismatch";
    case DefectKind::kDeadlock:
      return "deadlock";
    case DefectKind::kBadArgument:
      return "bad argument";
    case DefectKind::kUnfinishedCopy:
      return "unfinished copy";
  }
  return "?";
}

const char* Name(Instruction instruction) {
  static constexpr const char* kNames[] = {
      "global load",   "global store", "shared load", "shared store", "atomic",   "block barrier",
      "named barrier", "warp sync",    "shuffle",     "vote",         "mma",      "wgmma",
      "load matrix",   "store matrix", "async copy",  "bulk copy",    "mbarrier", "fence"};
  static_assert(std::size(kNames) == static_cast<size_t>(Instruction::kCount));
  return kNames[static_cast<size_t>(instruction)];
}

bool LaunchReport::Has(DefectKind kind) const {
  for (const Defect& defect : defects) {
    if (defect.kind == kind) return true;
  }
  return false;
}

uint64_t LaunchReport::Sectors() const {
  uint64_t sum = 0;
  for (const SiteCounts& site : sites) sum += site.sectors;
  return sum;
}

uint64_t LaunchReport::LeastSectors() const {
  uint64_t sum = 0;
  for (const SiteCounts& site : sites) sum += site.least_sectors;
  return sum;
}

double LaunchReport::Coalescing() const {
  const uint64_t sectors = Sectors();
  return sectors == 0 ? 1.0 : static_cast<double>(LeastSectors()) / static_cast<double>(sectors);
}

uint64_t LaunchReport::BankConflicts() const {
  uint64_t sum = 0;
  for (const SiteCounts& site : sites) sum += site.BankConflicts();
  return sum;
}

std::string LaunchReport::Text() const {
  std::string text = fmt::format("{}: grid {}x{}x{}, block {}x{}x{}, {} bytes shared\n", kernel,
                                 grid.x, grid.y, grid.z, block.x, block.y, block.z, shared_bytes);
  const auto out = std::back_inserter(text);
  for (const Defect& d : defects) {
    fmt::format_to(out, "  {}: {} (block {},{},{} thread {},{},{}", Name(d.kind), d.message,
                   d.block.x, d.block.y, d.block.z, d.thread.x, d.thread.y, d.thread.z);
    if (d.site.file != nullptr) fmt::format_to(out, ", {}:{}", d.site.file, d.site.line);
    if (d.times > 1) fmt::format_to(out, ", {} times", d.times);
    text += ")\n";
  }
  for (const SiteCounts& s : sites) {
    fmt::format_to(out, "  {}:{} {}: {} requests, {} bytes", s.site.file ? s.site.file : "?",
                   s.site.line, Name(s.instruction), s.requests, s.bytes);
    if (s.sectors != 0) {
      fmt::format_to(out, ", {} sectors of at least {} ({:.1f} %)", s.sectors, s.least_sectors,
                     100 * s.Coalescing());
    }
    if (s.wavefronts != 0) {
      fmt::format_to(out, ", {} wavefronts, {} by bank conflicts", s.wavefronts, s.BankConflicts());
    }
    text += '\n';
  }
  for (size_t i = 0; i < static_cast<size_t>(Instruction::kCount); ++i) {
    if (instructions[i] != 0) {
      fmt::format_to(out, "  {}: {}\n", Name(static_cast<Instruction>(i)), instructions[i]);
    }
  }
  return text;
}

}  // namespace weft::simt
