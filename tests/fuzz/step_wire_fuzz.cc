// Bytes of a step from rank 0: whatever they are, an error or a step that encodes to the same
// bytes.
#include <algorithm>
#include <cstdint>
#include <span>
#include <vector>

#include "libs/base/status.h"
#include "libs/model/step_wire.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto bytes = std::as_bytes(std::span(data, size));
  weft::OwnedStep step;
  if (!weft::DecodeStep(bytes, step).ok()) return 0;
  std::vector<std::byte> again;
  weft::EncodeStep(step.batch, again);
  WEFT_CHECK(std::ranges::equal(again, bytes));
  return 0;
}
