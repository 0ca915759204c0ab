// A segment file of the collector's disk queue, of any bytes: every record found must be whole, in
// order and not overlapping, and be framed again to the same bytes.
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "libs/spans/span_record.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace weft::spans;
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  size_t at = 0;
  while (const auto found = FindRecord(bytes, at)) {
    const std::string framed = FrameRecord(found->sequence, found->payload);
    if (found->begin < at || bytes.substr(found->begin, framed.size()) != framed) abort();
    at = found->begin + framed.size();
  }
  // Rubbish before a record hides it no more than rubbish after it does.
  if (size < 32) {
    const std::string mixed = std::string(bytes) + FrameRecord(7, bytes) + std::string(bytes);
    size_t from = 0;
    bool seen = false;
    while (const auto found = FindRecord(mixed, from)) {
      seen |= found->sequence == 7 && found->payload == bytes;
      from = found->begin + 1;
    }
    if (!seen) abort();
  }
  return 0;
}
