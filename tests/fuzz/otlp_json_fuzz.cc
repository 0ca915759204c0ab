// OTLP JSON and gzip from anywhere: what is accepted must be written and read back as the same
// spans, and must stand the collector's check.
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "libs/spans/check.h"
#include "libs/spans/gzip.h"
#include "libs/spans/otlp_json.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  (void)weft::spans::Gunzip(text, 1 << 16);
  auto spans = weft::spans::ParseOtlpJson(text);
  if (!spans.ok()) return 0;
  weft::spans::CheckSpans(*spans, {});
  const std::string json = weft::spans::ToOtlpJson(*spans);
  const auto again = weft::spans::ParseOtlpJson(json);
  // NaN is not equal to itself, so the texts are compared.
  if (!again.ok() || weft::spans::ToOtlpJson(*again) != json) abort();
  return 0;
}
