#include "libs/ops/ref_cache.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "libs/tensor/half.h"

namespace weft {
namespace {

template <typename T>
T Get(const uint8_t* at) {
  T value;
  std::memcpy(&value, at, sizeof(T));
  return value;
}

template <typename T>
void Put(uint8_t* at, T value) {
  std::memcpy(at, &value, sizeof(T));
}

}  // namespace

float RefCache::Load(int64_t page, int64_t head, int64_t token, int64_t element) const {
  const uint8_t* at = Element(page, head, token, element);
  switch (page_.type) {
    case DType::kF32:
      return Get<float>(at);
    case DType::kBF16:
      return Bf16ToFloat(Get<uint16_t>(at));
    case DType::kQ8_0:
      return HalfToFloat(Get<uint16_t>(Scale(page, head, token, element / kKvGroup))) *
             static_cast<float>(Get<int8_t>(at));
    default:
      return HalfToFloat(Get<uint16_t>(at));
  }
}

void RefCache::Store(int64_t page, int64_t head, int64_t token, const float* values) {
  for (int64_t first = 0; first < page_.dim; first += kKvGroup) {
    const int64_t end = std::min(page_.dim, first + kKvGroup);
    float inverse = 0;
    if (IsScaledKv(page_.type)) {
      float largest = 0;
      for (int64_t i = first; i < end; ++i) largest = std::max(largest, std::abs(values[i]));
      const uint16_t half = FloatToHalf(std::min(largest / 127.0f, 65504.0f));
      Put(Scale(page, head, token, first / kKvGroup), half);
      const float scale = HalfToFloat(half);
      inverse = scale > 0 ? 1.0f / scale : 0.0f;
    }
    for (int64_t i = first; i < end; ++i) {
      uint8_t* at = Element(page, head, token, i);
      switch (page_.type) {
        case DType::kF32:
          Put(at, values[i]);
          break;
        case DType::kBF16:
          Put(at, FloatToBf16(values[i]));
          break;
        case DType::kQ8_0:
          Put(at, static_cast<int8_t>(
                      std::nearbyint(std::clamp(values[i] * inverse, -127.0f, 127.0f))));
          break;
        default:
          Put(at, FloatToHalf(values[i]));
          break;
      }
    }
  }
}

}  // namespace weft
