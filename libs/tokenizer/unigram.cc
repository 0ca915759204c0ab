#include "libs/tokenizer/unigram.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "libs/tokenizer/spaces.h"
#include "libs/tokenizer/utf8.h"

namespace weft {
namespace {

constexpr double kUnknownPenalty = 10;
constexpr float kLargeSum = 100000;  // where SentencePiece begins at 0 again

bool MayAppear(TokenKind kind) {
  return kind == TokenKind::kNormal || kind == TokenKind::kUserDefined;
}

}  // namespace

Unigram::Unigram(SentencePieceVocab vocab, bool double_sums)
    : vocab_(std::move(vocab)), unknown_(vocab_), double_sums_(double_sums) {
  lowest_ = std::numeric_limits<double>::max();
  std::vector<ByteTrie::Item> items;
  for (size_t i = 0; i < vocab_.texts.size(); ++i) {
    if (vocab_.kinds[i] == TokenKind::kNormal) {
      lowest_ = std::min(lowest_, vocab_.scores[i]);
    }
    if (MayAppear(vocab_.kinds[i]) && !vocab_.texts[i].empty()) {
      items.push_back({vocab_.texts[i], static_cast<int32_t>(i)});
    }
  }
  if (lowest_ == std::numeric_limits<double>::max()) lowest_ = 0;
  trie_ = ByteTrie(std::move(items));
}

float Unigram::UserDefinedScore(size_t id) const {
  // Better than what it could be made of, and one long token better than two short ones. Its length
  // counts a space as U+2581.
  const std::string& text = vocab_.texts[id];
  const auto spaces = static_cast<size_t>(std::count(text.begin(), text.end(), ' '));
  const size_t length = text.size() + spaces * (kEscapedSpace.size() - 1);
  return static_cast<float>(0.1 * static_cast<double>(length - 1));
}

template <typename Sum>
Sum Unigram::Split(std::string_view text, Sum before, std::vector<int32_t>& out) const {
  struct Best {
    Sum sum = 0;
    uint32_t begin = ~0u;  // of the token that ends here
    int32_t id = -1;       // -1: no token, a character without one
  };
  std::vector<Best> best(text.size() + 1);
  best[0] = {.sum = before, .begin = 0};
  const Sum unknown = static_cast<Sum>(lowest_) - static_cast<Sum>(kUnknownPenalty);
  size_t reached = 0;
  for (size_t at = 0; at < text.size();) {
    const size_t length = DecodeUtf8(text, at).length;
    if (!double_sums_ && std::abs(best[at].sum) > kLargeSum) {
      const Sum large = best[at].sum;
      for (size_t i = at; i <= reached; ++i) {
        if (best[i].begin != ~0u) best[i].sum -= large;
      }
    }
    const Sum so_far = best[at].sum;
    bool has_single = false;
    const auto offer = [&](size_t size, int32_t id, Sum score) {
      Best& there = best[at + size];
      reached = std::max(reached, at + size);
      if (there.begin == ~0u || so_far + score > there.sum) {
        there = {so_far + score, static_cast<uint32_t>(at), id};
      }
    };
    trie_.ForEachPrefix(text.substr(at), [&](size_t size, int32_t id) {
      const auto index = static_cast<size_t>(id);
      offer(size, id,
            vocab_.kinds[index] == TokenKind::kUserDefined
                ? UserDefinedScore(index)
                : static_cast<Sum>(vocab_.scores[index]));
      has_single = has_single || size == length;
    });
    if (!has_single) offer(length, -1, unknown);
    at += length;
  }
  std::vector<std::pair<size_t, size_t>> pieces;  // begin and end, the last one first
  for (size_t end = text.size(); end > 0; end = best[end].begin) {
    pieces.emplace_back(best[end].begin, end);
  }
  bool after_unknown = false;
  for (auto piece = pieces.rbegin(); piece != pieces.rend(); ++piece) {
    const int32_t id = best[piece->second].id;
    if (id >= 0) {
      out.push_back(id);
      after_unknown = false;
    } else {
      after_unknown = unknown_.Append(text.substr(piece->first, piece->second - piece->first),
                                      after_unknown, out);
    }
  }
  return best.back().sum;
}

void Unigram::Encode(std::string_view raw, const TextPart& part, std::vector<int32_t>& out) const {
  std::string buffer;
  const std::string spaced = vocab_.spaces.Apply(vocab_.normalizer.Apply(raw, buffer), part);
  std::string_view text = spaced;
  float sum = part.score_sum != nullptr ? *part.score_sum : 0;
  while (!text.empty()) {
    size_t end = text.size();
    if (vocab_.spaces.split) end = std::min(end, text.find(' ', 1));
    if (double_sums_) {
      Split<double>(text.substr(0, end), 0, out);
    } else {
      sum = Split<float>(text.substr(0, end), sum, out);
    }
    text.remove_prefix(end);
  }
  if (part.score_sum == nullptr) return;
  *part.score_sum = sum;
  if (part.user_token < 0) return;
  if (std::abs(sum) > kLargeSum) *part.score_sum = 0;
  *part.score_sum += UserDefinedScore(static_cast<size_t>(part.user_token));
}

}  // namespace weft
