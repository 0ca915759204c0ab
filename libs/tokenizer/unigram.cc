#include "libs/tokenizer/unigram.h"

#include <algorithm>
#include <limits>

#include "libs/tokenizer/utf8.h"

namespace weft {
namespace {

constexpr double kUnknownPenalty = 10;

bool MayAppear(TokenKind kind) {
  return kind == TokenKind::kNormal || kind == TokenKind::kUserDefined;
}

}  // namespace

Unigram::Unigram(SentencePieceVocab vocab, bool double_sums)
    : vocab_(std::move(vocab)), unknown_(vocab_), double_sums_(double_sums) {
  lowest_ = std::numeric_limits<double>::max();
  highest_ = std::numeric_limits<double>::lowest();
  std::vector<ByteTrie::Item> items;
  for (size_t i = 0; i < vocab_.texts.size(); ++i) {
    if (vocab_.kinds[i] == TokenKind::kNormal) {
      lowest_ = std::min(lowest_, vocab_.scores[i]);
      highest_ = std::max(highest_, vocab_.scores[i]);
    }
    if (MayAppear(vocab_.kinds[i]) && !vocab_.texts[i].empty()) {
      items.push_back({vocab_.texts[i], static_cast<int32_t>(i)});
    }
  }
  if (lowest_ > highest_) lowest_ = highest_ = 0;
  trie_ = ByteTrie(std::move(items));
}

template <typename Sum>
void Unigram::Split(std::string_view text, std::vector<int32_t>& out) const {
  struct Best {
    Sum sum = 0;
    uint32_t begin = ~0u;  // of the token that ends here
    int32_t id = -1;       // -1: no token, a character without one
  };
  std::vector<Best> best(text.size() + 1);
  best[0].begin = 0;
  const Sum unknown = static_cast<Sum>(lowest_ - kUnknownPenalty);
  for (size_t at = 0; at < text.size();) {
    const size_t length = DecodeUtf8(text, at).length;
    const Sum so_far = best[at].sum;
    bool has_single = false;
    const auto offer = [&](size_t size, int32_t id, Sum score) {
      Best& there = best[at + size];
      if (there.begin == ~0u || so_far + score > there.sum) {
        there = {so_far + score, static_cast<uint32_t>(at), id};
      }
    };
    trie_.ForEachPrefix(text.substr(at), [&](size_t size, int32_t id) {
      const auto index = static_cast<size_t>(id);
      // A user-defined token is always better than what it could be made of.
      const Sum score = vocab_.kinds[index] == TokenKind::kUserDefined
                            ? static_cast<Sum>(static_cast<double>(size) * highest_ - 0.1)
                            : static_cast<Sum>(vocab_.scores[index]);
      offer(size, id, score);
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
}

void Unigram::Encode(std::string_view raw, const TextPart& part, std::vector<int32_t>& out) const {
  std::string buffer;
  const std::string spaced = vocab_.spaces.Apply(vocab_.normalizer.Apply(raw, buffer), part);
  std::string_view text = spaced;
  while (!text.empty()) {
    size_t end = text.size();
    if (vocab_.spaces.split) end = std::min(end, text.find(' ', 1));
    if (double_sums_) {
      Split<double>(text.substr(0, end), out);
    } else {
      Split<float>(text.substr(0, end), out);
    }
    text.remove_prefix(end);
  }
}

}  // namespace weft
