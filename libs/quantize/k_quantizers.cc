// Q4_K, Q5_K and Q6_K by least squares.
//
// A format stores code * scale + offset for each group. Given codes, the best scale and offset are
// a linear regression; given scale and offset, the best codes are the nearest ones. So for each
// group several ranges are tried as a start (shrinking one clips the outermost values, which often
// pays), each followed by a regression, and the best is refined by alternating the two. Scales and
// offsets are then rounded to the few bits that the format has, and the neighbours of that rounding
// are tried too, with the nearest codes for each.
#include <algorithm>
#include <cmath>
#include <cstring>

#include "libs/quantize/quantizers.h"
#include "libs/tensor/half.h"

namespace weft::quantize_internal {
namespace {

constexpr int kSuper = 256;
constexpr int kLanes =
    8;  // partial sums, so that the compiler may use vectors and no bit depends on it

float Fold(const float* lanes) {
  return ((lanes[0] + lanes[4]) + (lanes[2] + lanes[6])) +
         ((lanes[1] + lanes[5]) + (lanes[3] + lanes[7]));
}

// To the nearest integer, for |x| < 2^22.
float Nearest(float x) {
  constexpr float kMagic = 12582912.0f;
  return (x + kMagic) - kMagic;
}

float Clamp(float x, float low, float high) { return std::min(std::max(x, low), high); }

// value = scale * code + offset.
struct Line {
  float scale = 0;
  float offset = 0;
};

// Codes are the nearest integers to inverse * (x - origin) within [low, high].
struct Coder {
  float inverse;
  float origin;
  float low, high;
  float operator()(float x) const { return Nearest(Clamp((x - origin) * inverse, low, high)); }
};

struct Sums {
  float q = 0, qq = 0, x = 0, xq = 0;
};

template <int N>
Sums SumsOf(const float* x, const Coder& coder) {
  float q[kLanes] = {}, qq[kLanes] = {}, sx[kLanes] = {}, xq[kLanes] = {};
  for (int i = 0; i < N; i += kLanes) {
    for (int j = 0; j < kLanes; ++j) {
      const float code = coder(x[i + j]);
      q[j] += code;
      qq[j] += code * code;
      sx[j] += x[i + j];
      xq[j] += x[i + j] * code;
    }
  }
  return {Fold(q), Fold(qq), Fold(sx), Fold(xq)};
}

// Sum of squared differences between x and what its nearest codes stand for.
template <int N>
float ErrorOf(const float* x, const Coder& coder, Line line) {
  float errors[kLanes] = {};
  for (int i = 0; i < N; i += kLanes) {
    for (int j = 0; j < kLanes; ++j) {
      const float difference = line.scale * coder(x[i + j]) + line.offset - x[i + j];
      errors[j] += difference * difference;
    }
  }
  return Fold(errors);
}

// The best line through (code, x) with an offset of at most 0, which is all that the formats have.
template <int N>
Line Regress(const Sums& s) {
  const float determinant = static_cast<float>(N) * s.qq - s.q * s.q;
  if (determinant > 0) {
    const float scale = (static_cast<float>(N) * s.xq - s.x * s.q) / determinant;
    const float offset = (s.qq * s.x - s.q * s.xq) / determinant;
    if (offset <= 0 && scale > 0) return {scale, offset};
  }
  return {s.qq > 0 ? std::max(0.0f, s.xq / s.qq) : 0.0f, 0.0f};
}

// Sum of (scale q + offset - x)^2, less the sum of x^2, which is the same for all codes.
double RegressionError(const Sums& s, Line line, int count) {
  const double a = line.scale;
  const double b = line.offset;
  return a * a * s.qq + 2 * a * b * s.q + count * b * b - 2 * a * s.xq - 2 * b * s.x;
}

Coder CoderOf(Line line, float most) {
  return {line.scale > 0 ? 1.0f / line.scale : 0.0f, line.offset, 0.0f, most};
}

bool Usable(const Coder& coder) { return std::isfinite(coder.inverse); }

// Codes 0 .. most for a group of 32.
Line FitAffine(const float* x, float most) {
  constexpr int kGroup = 32;
  constexpr int kStarts = 16;
  const auto [least, largest] = std::minmax_element(x, x + kGroup);
  const float low = std::min(*least, 0.0f);
  const float range = *largest - low;
  Line best{0.0f, low};
  if (!(range > 0) || !std::isfinite(most / range)) return best;
  double best_error = INFINITY;
  for (int start = 0; start < kStarts; ++start) {
    // Steps from 10 % more than the range down to three quarters of it.
    const float width = range * (1.1f - 0.35f * static_cast<float>(start) / (kStarts - 1));
    const Sums sums = SumsOf<kGroup>(x, {most / width, low, 0.0f, most});
    const Line line = Regress<kGroup>(sums);
    const double error = RegressionError(sums, line, kGroup);
    if (error >= best_error) continue;
    best_error = error;
    best = line;
  }
  for (int round = 0; round < 2; ++round) {
    const Coder coder = CoderOf(best, most);
    if (!Usable(coder)) break;
    best = Regress<kGroup>(SumsOf<kGroup>(x, coder));
  }
  return best;
}

// Codes -32 .. 31 without offset for a group of 16. The scale may be negative.
float FitSymmetric(const float* x) {
  constexpr int kGroup = 16;
  constexpr int kStarts = 24;
  float extreme = 0;
  for (int i = 0; i < kGroup; ++i) {
    if (std::fabs(x[i]) > std::fabs(extreme)) extreme = x[i];
  }
  float best = 0;
  float best_gain = 0;
  for (int start = 0; start < kStarts; ++start) {
    // The extreme value becomes code -32, or is clipped to it, or falls short of it.
    const float inverse = -(30.5f + 0.15f * static_cast<float>(start)) / extreme;
    if (!std::isfinite(inverse)) return 0;
    const Sums s = SumsOf<kGroup>(x, {inverse, 0.0f, -32.0f, 31.0f});
    // The regression's error is sum x^2 - (sum x q)^2 / sum q^2.
    if (!(s.qq > 0) || s.xq * s.xq <= best_gain * s.qq) continue;
    best_gain = s.xq * s.xq / s.qq;
    best = s.xq / s.qq;
  }
  return best;
}

struct Levels {
  float scale = 0;
  float offset = 0;
};

// d, dmin, 12 bytes of 6-bit scales and offsets: see DecodeSixBitScales in
// libs/tensor/k_formats.cc.
void PackSixBitScales(const Levels* levels, uint8_t* out) {
  for (int g = 0; g < 4; ++g) {
    const auto scale = static_cast<unsigned>(levels[g].scale);
    const auto offset = static_cast<unsigned>(levels[g].offset);
    const auto high_scale = static_cast<unsigned>(levels[4 + g].scale);
    const auto high_offset = static_cast<unsigned>(levels[4 + g].offset);
    out[g] = static_cast<uint8_t>(scale | ((high_scale >> 4) << 6));
    out[4 + g] = static_cast<uint8_t>(offset | ((high_offset >> 4) << 6));
    out[8 + g] = static_cast<uint8_t>((high_scale & 15) | ((high_offset & 15) << 4));
  }
}

// A super-block of eight groups with codes 0 .. most. Writes d, dmin and the scales to `out` and
// the codes to `codes`.
bool QuantizeAffine(const float* src, float most, uint8_t* out, uint8_t* codes) {
  constexpr int kGroup = 32;
  constexpr float kMostLevel = 63;
  Line lines[8];
  float largest_scale = 0;
  float largest_offset = 0;
  for (int g = 0; g < 8; ++g) {
    lines[g] = FitAffine(src + kGroup * g, most);
    largest_scale = std::max(largest_scale, lines[g].scale);
    largest_offset = std::max(largest_offset, -lines[g].offset);
  }
  if (!PutHalf(out, largest_scale / kMostLevel) || !PutHalf(out + 2, largest_offset / kMostLevel)) {
    return false;
  }
  const float d = HalfToFloat(FloatToHalf(largest_scale / kMostLevel));
  const float dmin = HalfToFloat(FloatToHalf(largest_offset / kMostLevel));
  Levels levels[8];
  for (int g = 0; g < 8; ++g) {
    const float* x = src + kGroup * g;
    const Levels middle{d > 0 ? Nearest(lines[g].scale / d) : 0.0f,
                        dmin > 0 ? Nearest(-lines[g].offset / dmin) : 0.0f};
    float best_error = INFINITY;
    Coder best{};
    for (int i = -1; i <= 1; ++i) {
      for (int j = -1; j <= 1; ++j) {
        const Levels level{Clamp(middle.scale + static_cast<float>(i), 0, kMostLevel),
                           Clamp(middle.offset + static_cast<float>(j), 0, kMostLevel)};
        const Line line{d * level.scale, -(dmin * level.offset)};
        const Coder coder = CoderOf(line, most);
        if (!Usable(coder)) continue;
        const float error = ErrorOf<kGroup>(x, coder, line);
        if (error >= best_error) continue;
        best_error = error;
        best = coder;
        levels[g] = level;
      }
    }
    for (int i = 0; i < kGroup; ++i) codes[kGroup * g + i] = static_cast<uint8_t>(best(x[i]));
  }
  PackSixBitScales(levels, out + 4);
  return true;
}

void PackNibbleRows(const uint8_t* codes, uint8_t* out) {
  for (int pair = 0; pair < 4; ++pair) {
    const uint8_t* low = codes + 64 * pair;
    for (int i = 0; i < 32; ++i) {
      out[32 * pair + i] = static_cast<uint8_t>((low[i] & 15) | ((low[32 + i] & 15) << 4));
    }
  }
}

}  // namespace

bool QuantizeBlockQ4_K(const float* src, uint8_t* out) {
  uint8_t codes[kSuper];
  if (!QuantizeAffine(src, 15.0f, out, codes)) return false;
  PackNibbleRows(codes, out + 16);
  return true;
}

bool QuantizeBlockQ5_K(const float* src, uint8_t* out) {
  uint8_t codes[kSuper];
  if (!QuantizeAffine(src, 31.0f, out, codes)) return false;
  for (int i = 0; i < 32; ++i) {
    unsigned bits = 0;
    for (int row = 0; row < 8; ++row)
      bits |= static_cast<unsigned>(codes[32 * row + i] >> 4) << row;
    out[16 + i] = static_cast<uint8_t>(bits);
  }
  PackNibbleRows(codes, out + 48);
  return true;
}

bool QuantizeBlockQ6_K(const float* src, uint8_t* out) {
  constexpr int kGroup = 16;
  float scales[16];
  float extreme = 0;
  for (int g = 0; g < 16; ++g) {
    scales[g] = FitSymmetric(src + kGroup * g);
    if (std::fabs(scales[g]) > std::fabs(extreme)) extreme = scales[g];
  }
  if (!PutHalf(out + 208, extreme / -128.0f)) return false;
  const float d = HalfToFloat(FloatToHalf(extreme / -128.0f));
  uint8_t codes[kSuper];  // with 32 added
  for (int g = 0; g < 16; ++g) {
    const float* x = src + kGroup * g;
    const float middle = d != 0 ? Nearest(scales[g] / d) : 0.0f;
    float best_error = INFINITY;
    float best_level = 0;
    Coder best{0.0f, 0.0f, -32.0f, 31.0f};
    for (int i = -1; i <= 1; ++i) {
      const float level = Clamp(middle + static_cast<float>(i), -128.0f, 127.0f);
      const float scale = d * level;
      const Coder coder{scale != 0 ? 1.0f / scale : 0.0f, 0.0f, -32.0f, 31.0f};
      if (!Usable(coder)) continue;
      const float error = ErrorOf<kGroup>(x, coder, {scale, 0.0f});
      if (error >= best_error) continue;
      best_error = error;
      best = coder;
      best_level = level;
    }
    out[192 + g] = static_cast<uint8_t>(static_cast<int8_t>(best_level));
    for (int i = 0; i < kGroup; ++i) {
      codes[kGroup * g + i] = static_cast<uint8_t>(best(x[i]) + 32.0f);
    }
  }
  for (int half = 0; half < 2; ++half) {
    const uint8_t* rows = codes + 128 * half;
    for (int i = 0; i < 32; ++i) {
      const unsigned a = rows[i], b = rows[32 + i], c = rows[64 + i], e = rows[96 + i];
      out[64 * half + i] = static_cast<uint8_t>((a & 15) | ((c & 15) << 4));
      out[64 * half + 32 + i] = static_cast<uint8_t>((b & 15) | ((e & 15) << 4));
      out[128 + 32 * half + i] =
          static_cast<uint8_t>((a >> 4) | ((b >> 4) << 2) | ((c >> 4) << 4) | ((e >> 4) << 6));
    }
  }
  return true;
}

}  // namespace weft::quantize_internal
