#include "libs/identity/jws_algorithm.h"

#include <array>

namespace weft::identity {
namespace {

struct Row {
  JwsAlgorithm algorithm;
  std::string_view name;
  JwsFamily family;
  int digest_bits;
};

using A = JwsAlgorithm;
using F = JwsFamily;
constexpr std::array<Row, 11> kRows = {{{A::kHs256, "HS256", F::kHmac, 256},
                                        {A::kRs256, "RS256", F::kRsa, 256},
                                        {A::kRs384, "RS384", F::kRsa, 384},
                                        {A::kRs512, "RS512", F::kRsa, 512},
                                        {A::kPs256, "PS256", F::kRsaPss, 256},
                                        {A::kPs384, "PS384", F::kRsaPss, 384},
                                        {A::kPs512, "PS512", F::kRsaPss, 512},
                                        {A::kEs256, "ES256", F::kEcdsa, 256},
                                        {A::kEs384, "ES384", F::kEcdsa, 384},
                                        {A::kEs512, "ES512", F::kEcdsa, 512},
                                        {A::kEdDsa, "EdDSA", F::kEdDsa, 0}}};

constexpr bool InOrder() {
  for (size_t i = 0; i < kRows.size(); ++i) {
    if (static_cast<size_t>(kRows[i].algorithm) != i) return false;
  }
  return true;
}
static_assert(InOrder());

const Row& RowOf(JwsAlgorithm algorithm) { return kRows[static_cast<size_t>(algorithm)]; }

}  // namespace

std::string_view JwsAlgorithmName(JwsAlgorithm algorithm) { return RowOf(algorithm).name; }
JwsFamily FamilyOf(JwsAlgorithm algorithm) { return RowOf(algorithm).family; }
int DigestBits(JwsAlgorithm algorithm) { return RowOf(algorithm).digest_bits; }

std::optional<JwsAlgorithm> ParseJwsAlgorithm(std::string_view name) {
  for (const Row& row : kRows) {
    if (row.name == name) return row.algorithm;
  }
  return std::nullopt;
}

}  // namespace weft::identity
