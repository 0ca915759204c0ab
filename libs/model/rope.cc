#include "libs/model/rope.h"

namespace weft {
namespace {

constexpr double kLn2 = 0.693147180559945309417232121458;

// Own exp and log in double: only +, -, * and /, which every machine rounds alike. They need no
// speed: they run once per frequency.
double Log(double x) {
  int exponent = 0;
  while (x >= 1.5) {
    x /= 2;
    ++exponent;
  }
  while (x < 0.75) {
    x *= 2;
    --exponent;
  }
  // ln x = 2 atanh((x - 1) / (x + 1)), |z| <= 1/5.
  const double z = (x - 1) / (x + 1);
  const double square = z * z;
  double sum = 0;
  for (int k = 25; k >= 1; k -= 2) sum = sum * square + 1.0 / k;
  return 2 * z * sum + exponent * kLn2;
}

double Exp(double x) {
  int halvings = 0;
  while (x > 0.5 || x < -0.5) {
    x /= 2;
    ++halvings;
  }
  double sum = 1;
  for (int k = 18; k >= 1; --k) sum = 1 + sum * x / k;
  for (; halvings > 0; --halvings) sum *= sum;
  return sum;
}

}  // namespace

void SinCos(double x, double* sine, double* cosine) {
  // Cody-Waite: pi/2 in three parts, the first two of 33 bits, so that their products with a
  // quadrant number below 2^20 are exact.
  constexpr double kPart1 = 1.57079632673412561417e+00;
  constexpr double kPart2 = 6.07710050630396597660e-11;
  constexpr double kPart3 = 2.02226624879595063154e-21;
  const double turns = x * 0.636619772367581343076;
  const auto quadrant = static_cast<int64_t>(turns < 0 ? turns - 0.5 : turns + 0.5);
  const auto q = static_cast<double>(quadrant);
  const double r = ((x - q * kPart1) - q * kPart2) - q * kPart3;
  const double square = r * r;
  double s = 0;
  double c = 0;
  for (int k = 9; k >= 1; --k) {
    s = (1 + s) * -square / ((2 * k) * (2 * k + 1));
    c = (1 + c) * -square / ((2 * k - 1) * (2 * k));
  }
  s = r * (1 + s);
  c = 1 + c;
  switch (quadrant & 3) {
    case 0:
      *sine = s;
      *cosine = c;
      break;
    case 1:
      *sine = c;
      *cosine = -s;
      break;
    case 2:
      *sine = -s;
      *cosine = -c;
      break;
    default:
      *sine = -c;
      *cosine = s;
  }
}

RopeTable::RopeTable(const ModelConfig& config, std::span<const float> factors)
    : scale_(config.rope_scaling.factor) {
  const int32_t pairs = config.rope_dim / 2;
  const double log_base = Log(config.rope_base);
  for (int32_t i = 0; i < pairs; ++i) {
    float frequency = static_cast<float>(Exp(-log_base * i / pairs));
    if (!factors.empty()) frequency /= factors[static_cast<size_t>(i)];
    frequencies_.push_back(frequency);
  }
}

void RopeTable::Fill(std::span<const int32_t> positions, float* out) const {
  const auto pairs = static_cast<int64_t>(frequencies_.size());
  for (size_t row = 0; row < positions.size(); ++row, out += 2 * pairs) {
    const float position = static_cast<float>(positions[row]) / scale_;
    for (int64_t i = 0; i < pairs; ++i) {
      const float angle = position * frequencies_[static_cast<size_t>(i)];
      double sine = 0;
      double cosine = 0;
      SinCos(angle, &sine, &cosine);
      out[i] = static_cast<float>(cosine);
      out[pairs + i] = static_cast<float>(sine);
    }
  }
}

}  // namespace weft
