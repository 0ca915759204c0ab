// Scanning a text in pieces must give what scanning it whole gives.
// Input: byte 0 = kind and window, byte 1 = number of cuts, then two bytes a cut, then the text.
#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string_view>
#include <tuple>
#include <vector>

#include "libs/scan/rule_set.h"
#include "libs/scan/scanner.h"

namespace {

using weft::scan::Finding;
using weft::scan::RuleSet;

std::shared_ptr<const RuleSet> Rules(bool small_window) {
  const auto build = [](size_t window) {
    weft::scan::RuleSetOptions options;
    options.window_bytes = window;
    return *RuleSet::Builtin(options);
  };
  static const std::shared_ptr<const RuleSet> small = build(64);
  static const std::shared_ptr<const RuleSet> usual = build(512);
  return small_window ? small : usual;
}

void Require(bool condition, const char* what) {
  if (condition) return;
  std::fprintf(stderr, "scan_fuzz: %s\n", what);
  std::abort();
}

void Sort(std::vector<Finding>& findings) {
  std::sort(findings.begin(), findings.end(), [](const Finding& a, const Finding& b) {
    return std::tie(a.begin, a.end, a.rule, a.match) < std::tie(b.begin, b.end, b.rule, b.match);
  });
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size < 2) return 0;
  weft::scan::ScanOptions options;
  options.kind = static_cast<weft::scan::TextKind>(data[0] % weft::scan::kTextKinds);
  options.max_findings = 1'000'000;
  const auto rules = Rules((data[0] & 0x80) != 0);
  const size_t cut_count = std::min<size_t>(data[1] % 16, (size - 2) / 2);
  const std::string_view text(reinterpret_cast<const char*>(data) + 2 + 2 * cut_count,
                              size - 2 - 2 * cut_count);
  std::vector<size_t> cuts;
  for (size_t i = 0; i < cut_count; ++i) {
    const size_t at = static_cast<size_t>(data[2 + 2 * i]) << 8 | data[3 + 2 * i];
    cuts.push_back(at % (text.size() + 1));
  }
  std::sort(cuts.begin(), cuts.end());
  cuts.push_back(text.size());

  std::vector<Finding> whole = ScanText(*rules, text, options).findings;
  weft::scan::StreamScanner stream(rules, options);
  std::vector<Finding> pieces;
  uint64_t clear = 0;
  const auto take = [&](weft::scan::StreamScanner::Progress progress) {
    Require(progress.clear_through >= clear, "clear_through moved back");
    for (Finding& finding : progress.findings) {
      Require(finding.begin >= clear, "a finding came after its text was released");
      Require(finding.begin < finding.end && finding.end <= text.size(), "a bad range");
      pieces.push_back(std::move(finding));
    }
    clear = progress.clear_through;
  };
  size_t at = 0;
  for (const size_t cut : cuts) {
    take(stream.Append(text.substr(at, cut - at)));
    at = cut;
  }
  take(stream.Close());
  Require(clear == text.size(), "text is held back after the end");
  Sort(whole);
  Sort(pieces);
  Require(whole == pieces, "the pieces' findings are not the whole's");
  return 0;
}
