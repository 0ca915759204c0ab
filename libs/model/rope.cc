#include "libs/model/rope.h"

#include <algorithm>
#include <cmath>

namespace weft {
namespace {

constexpr double kTwoPi = 6.283185307179586476925286766559;
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

// How much of a frequency stays; the rest is divided by the factor.
double Llama3Keep(const RopeScaling& scaling, double original, float frequency) {
  const double low = scaling.low_freq_factor;
  const double high = scaling.high_freq_factor;
  const double turns = original * frequency / kTwoPi;  // over the original context
  return std::clamp((turns - low) / (high - low), 0.0, 1.0);
}

void Frequencies(double log_base, int32_t pairs, std::vector<float>& out) {
  out.resize(static_cast<size_t>(pairs));
  for (int32_t i = 0; i < pairs; ++i) {
    out[static_cast<size_t>(i)] = static_cast<float>(Exp(-log_base * i / pairs));
  }
}

}  // namespace

std::vector<float> Llama3Factors(const ModelConfig& config) {
  std::vector<float> factors;
  Frequencies(Log(config.rope_base), config.rope_dim / 2, factors);
  const RopeScaling& scaling = config.rope_scaling;
  for (float& value : factors) {
    const double keep = Llama3Keep(scaling, config.original_context(), value);
    value = static_cast<float>(1 / ((1 - keep) / scaling.factor + keep));
  }
  return factors;
}

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

float RopeScaling::yarn_magnitude(float m) const {
  return factor <= 1 ? 1.0f : static_cast<float>(0.1 * m * Log(factor) + 1);
}

RopeTable::RopeTable(const ModelConfig& config, std::span<const float> factors, Layers layers)
    : pairs_(config.rope_dim / 2) {
  if (pairs_ == 0) return;
  const bool own_base = layers == Layers::kSliding && config.rope_base_sliding > 0;
  log_base_ = Log(own_base ? config.rope_base_sliding : config.rope_base);
  Frequencies(log_base_, pairs_, frequencies_);
  if (own_base) return;
  if (!factors.empty()) {
    for (size_t i = 0; i < frequencies_.size(); ++i) frequencies_[i] /= factors[i];
  }
  const RopeScaling& scaling = config.rope_scaling;
  const double original = config.original_context();
  switch (scaling.kind) {
    case RopeScaling::Kind::kNone:
      break;
    case RopeScaling::Kind::kLinear:
      position_scale_ = scaling.factor;
      break;
    case RopeScaling::Kind::kDynamic:
      dynamic_from_ = config.original_context();
      dynamic_factor_ = scaling.factor;
      break;
    case RopeScaling::Kind::kLlama3:
      ScaleLlama3(scaling, original);
      break;
    case RopeScaling::Kind::kYarn:
      ScaleYarn(scaling, original);
      break;
    case RopeScaling::Kind::kLongRope: {
      magnitude_ = scaling.attention_factor;
      const double extension = config.context_extension();
      if (magnitude_ == 0) {
        magnitude_ = extension <= 1
                         ? 1.0f
                         : static_cast<float>(std::sqrt(1 + Log(extension) / Log(original)));
      }
      break;
    }
  }
}

// Wavelengths above original / low_freq_factor are stretched by factor, those below original /
// high_freq_factor are not.
void RopeTable::ScaleLlama3(const RopeScaling& scaling, double original) {
  for (float& frequency : frequencies_) {
    const double keep = Llama3Keep(scaling, original, frequency);
    frequency = static_cast<float>((1 - keep) * frequency / scaling.factor + keep * frequency);
  }
}

// Dimensions that turn more than beta_fast times over the original context are kept, those that
// turn less than beta_slow times are stretched by factor.
void RopeTable::ScaleYarn(const RopeScaling& scaling, double original) {
  const auto dimension = [&](double turns) {
    return pairs_ * Log(original / (turns * kTwoPi)) / log_base_;
  };
  double low = dimension(scaling.beta_fast);
  double high = dimension(scaling.beta_slow);
  if (scaling.truncate) {
    low = std::floor(low);
    high = std::ceil(high);
  }
  low = std::max(low, 0.0);
  high = std::min(high, 2.0 * pairs_ - 1);
  if (low == high) high += 0.001;
  for (size_t i = 0; i < frequencies_.size(); ++i) {
    const double stretch = std::clamp((static_cast<double>(i) - low) / (high - low), 0.0, 1.0);
    const double frequency = frequencies_[i];
    frequencies_[i] =
        static_cast<float>(frequency / scaling.factor * stretch + frequency * (1 - stretch));
  }
  magnitude_ = scaling.attention_factor;
  if (magnitude_ != 0) return;
  // The paper's 0.1 ln(factor) + 1; DeepSeek-V2 gives two that divide one another.
  const bool both = scaling.mscale > 0 && scaling.mscale_all_dim > 0;
  magnitude_ =
      both ? scaling.yarn_magnitude(scaling.mscale) / scaling.yarn_magnitude(scaling.mscale_all_dim)
           : scaling.yarn_magnitude(1);
}

void RopeTable::Fill(std::span<const int32_t> positions, float* out) const {
  std::vector<float> grown;
  for (const int32_t at : positions) {
    const float position = static_cast<float>(at) / position_scale_;
    const std::vector<float>* frequencies = &frequencies_;
    if (dynamic_from_ > 0 && at >= dynamic_from_ && pairs_ > 1) {
      const double length = at + 1.0;
      const double growth = dynamic_factor_ * length / dynamic_from_ - (dynamic_factor_ - 1);
      Frequencies(log_base_ + Log(growth) * pairs_ / (pairs_ - 1), pairs_, grown);
      frequencies = &grown;
    }
    for (int32_t i = 0; i < pairs_; ++i) {
      const float angle = position * (*frequencies)[static_cast<size_t>(i)];
      double sine = 0;
      double cosine = 0;
      SinCos(angle, &sine, &cosine);
      out[i] = static_cast<float>(cosine) * magnitude_;
      out[pairs_ + i] = static_cast<float>(sine) * magnitude_;
    }
    out += 2 * pairs_;
  }
}

}  // namespace weft
