#include "libs/tokenizer/sentencepiece_bpe.h"

#include <algorithm>

#include "libs/base/status.h"
#include "libs/tokenizer/bpe_merger.h"
#include "libs/tokenizer/utf8.h"

namespace weft {
namespace {

constexpr uint64_t kMaxPieceBytes = 1024;
constexpr uint64_t kMaxWork = 1u << 30;  // Gemma's 256K tokens: 2^24

// Tokens that merging may give or go through.
bool Merges(TokenKind kind) {
  return kind == TokenKind::kNormal || kind == TokenKind::kUnused ||
         kind == TokenKind::kUserDefined;
}

}  // namespace

SentencePieceBpe::SentencePieceBpe(SentencePieceVocab vocab)
    : vocab_(std::move(vocab)), unknown_(vocab_) {
  std::fill(std::begin(ascii_symbols_), std::end(ascii_symbols_), -1);
}

absl::StatusOr<std::unique_ptr<SentencePieceBpe>> SentencePieceBpe::Create(
    SentencePieceVocab vocab, bool by_rank, std::span<const std::string_view> merges) {
  std::unique_ptr<SentencePieceBpe> out(new SentencePieceBpe(std::move(vocab)));
  uint64_t work = 0;  // every way to cut a token in two is looked up
  for (size_t i = 0; i < out->vocab_.texts.size(); ++i) {
    const uint64_t size = out->vocab_.texts[i].size();
    if (Merges(out->vocab_.kinds[i])) work += size * size;
    if (size > kMaxPieceBytes || work > kMaxWork) {
      return InvalidArgument(
          "tokenizer.ggml.tokens[{}] has {} bytes, or there are too many as long", i, size);
    }
  }
  out->NumberCharacters();
  if (!by_rank) {
    out->MergesFromScores();
  } else {
    std::vector<std::string> escaped(out->vocab_.texts.size());  // as merges spell them
    for (size_t i = 0; i < escaped.size(); ++i) {
      for (const char c : out->vocab_.texts[i]) {
        if (c == ' ') {
          escaped[i] += kEscapedSpace;
        } else {
          escaped[i] += c;
        }
      }
    }
    const std::vector<std::string_view> names(escaped.begin(), escaped.end());
    WEFT_ASSIGN_OR_RETURN(out->merges_, ReadMerges(names, merges));
  }
  out->LearnJoins();
  out->LearnWords();
  return out;
}

// Every character that occurs in a token gets a symbol.
void SentencePieceBpe::NumberCharacters() {
  const auto put = [this](uint32_t code_point, int32_t symbol) {
    if (code_point < 128) {
      if (ascii_symbols_[code_point] < 0) ascii_symbols_[code_point] = symbol;
    } else {
      symbols_.try_emplace(code_point, symbol);
    }
  };
  const auto each = [this](auto visit) {
    for (size_t i = 0; i < vocab_.texts.size(); ++i) {
      if (!Merges(vocab_.kinds[i])) continue;
      const std::string_view text = vocab_.texts[i];
      for (size_t at = 0; at < text.size();) {
        const Utf8Char c = DecodeUtf8(text, at);
        if (c.code_point != Utf8Char::kInvalid) {
          visit(c.code_point, text.substr(at, c.length), static_cast<int32_t>(i),
                c.length == text.size());
        }
        at += c.length;
      }
    }
  };
  each([&](uint32_t c, std::string_view, int32_t id, bool is_whole) {
    if (is_whole) put(c, id);
  });
  each([&](uint32_t c, std::string_view bytes, int32_t, bool) {
    if (SymbolOf(c) >= 0) return;
    put(c, static_cast<int32_t>(vocab_.texts.size() + extra_.size()));
    extra_.emplace_back(bytes);
  });
}

int32_t SentencePieceBpe::SymbolOf(uint32_t code_point) const {
  if (code_point < 128) return ascii_symbols_[code_point];
  const auto it = symbols_.find(code_point);
  return it == symbols_.end() ? -1 : it->second;
}

// Any two symbols merge whose texts joined are a token; the higher score goes first.
void SentencePieceBpe::MergesFromScores() {
  absl::flat_hash_map<std::string_view, int32_t> ids;
  std::vector<double> scores;
  for (size_t i = 0; i < vocab_.texts.size(); ++i) {
    if (!Merges(vocab_.kinds[i]) || vocab_.texts[i].empty()) continue;
    if (ids.emplace(vocab_.texts[i], static_cast<int32_t>(i)).second) {
      scores.push_back(vocab_.scores[i]);
    }
  }
  for (size_t i = 0; i < extra_.size(); ++i) {
    ids.emplace(extra_[i], static_cast<int32_t>(vocab_.texts.size() + i));
  }
  std::sort(scores.begin(), scores.end(), std::greater<>());
  scores.erase(std::unique(scores.begin(), scores.end()), scores.end());
  struct Pair {
    int32_t left;
    int32_t right;
    uint32_t rank;
    int32_t merged;
  };
  std::vector<Pair> pairs;
  for (const auto& [text, id] : ids) {
    if (static_cast<size_t>(id) >= vocab_.texts.size()) continue;
    const auto rank = static_cast<uint32_t>(std::lower_bound(scores.begin(), scores.end(),
                                                             vocab_.scores[static_cast<size_t>(id)],
                                                             std::greater<>()) -
                                            scores.begin());
    for (size_t at = DecodeUtf8(text, 0).length; at < text.size();
         at += DecodeUtf8(text, at).length) {
      const auto left = ids.find(text.substr(0, at));
      if (left == ids.end()) continue;
      const auto right = ids.find(text.substr(at));
      if (right != ids.end()) pairs.push_back({left->second, right->second, rank, id});
    }
  }
  merges_ = MergeTable(pairs.size());
  for (const Pair& pair : pairs) {
    merges_.Put(pair.left, pair.right, pair.rank, pair.merged);
    if (vocab_.kinds[static_cast<size_t>(pair.merged)] != TokenKind::kUnused) continue;
    // Of several ways to make an unused token the one with the best parts is kept.
    unused_parts_.try_emplace(pair.merged, pair.left, pair.right);
  }
}

void SentencePieceBpe::LearnJoins() {
  for (size_t i = 0; i < vocab_.texts.size(); ++i) {
    if (!Merges(vocab_.kinds[i])) continue;
    const std::string_view text = vocab_.texts[i];
    uint32_t last = Utf8Char::kInvalid;
    for (size_t at = 0; at < text.size();) {
      const Utf8Char c = DecodeUtf8(text, at);
      if (at > 0 && last < 128 && c.code_point < 128) {
        ascii_joins_.set(last * 128 + c.code_point);
      } else if (at > 0 && c.code_point == ' ') {
        space_joins_after_other_ = true;
      }
      last = c.code_point;
      at += c.length;
    }
  }
}

bool SentencePieceBpe::MayJoin(uint32_t left, uint32_t right) const {
  if (left < 128 && right < 128) return ascii_joins_.test(left * 128 + right);
  return right != ' ' || space_joins_after_other_;
}

void SentencePieceBpe::LearnWords() {
  std::vector<WordTable::Word> words;
  for (size_t i = 0; i < vocab_.texts.size(); ++i) {
    const std::string_view text = vocab_.texts[i];
    if (vocab_.kinds[i] != TokenKind::kNormal || text.empty()) continue;
    const std::vector<int32_t> merged = Merge(text);
    if (merged.size() == 1 && merged[0] == static_cast<int32_t>(i)) {
      words.push_back({text, static_cast<int32_t>(i)});
    }
  }
  words_ = WordTable(words);
}

std::vector<int32_t> SentencePieceBpe::Merge(std::string_view piece) const {
  std::vector<int32_t> symbols;
  symbols.reserve(piece.size());
  for (size_t at = 0; at < piece.size();) {
    const Utf8Char c = DecodeUtf8(piece, at);
    const int32_t symbol = c.code_point == Utf8Char::kInvalid ? -1 : SymbolOf(c.code_point);
    symbols.push_back(symbol >= 0 ? symbol : -1 - static_cast<int32_t>(at));
    at += c.length;
  }
  if (symbols.size() <= MergeTable::kShort) {
    symbols.resize(merges_.MergeShort(symbols.data(), symbols.size()));
  } else {
    merges_.MergeLong(symbols);
  }
  return symbols;
}

bool SentencePieceBpe::AppendSymbol(int32_t symbol, std::string_view piece, bool after_unknown,
                                    std::vector<int32_t>& out) const {
  if (symbol < 0) {
    const auto at = static_cast<size_t>(-1 - symbol);
    return unknown_.Append(piece.substr(at, DecodeUtf8(piece, at).length), after_unknown, out);
  }
  const auto id = static_cast<size_t>(symbol);
  if (id >= vocab_.texts.size()) {
    return unknown_.Append(extra_[id - vocab_.texts.size()], after_unknown, out);
  }
  if (vocab_.kinds[id] == TokenKind::kUnused) {
    if (const auto parts = unused_parts_.find(symbol); parts != unused_parts_.end()) {
      after_unknown = AppendSymbol(parts->second.first, piece, after_unknown, out);
      return AppendSymbol(parts->second.second, piece, after_unknown, out);
    }
  }
  out.push_back(symbol);
  return false;
}

bool SentencePieceBpe::EncodePiece(std::string_view piece, bool after_unknown,
                                   std::vector<int32_t>& out) const {
  if (const int32_t id = words_.Find(piece); id >= 0) {
    out.push_back(id);
    return false;
  }
  for (const int32_t symbol : Merge(piece)) {
    after_unknown = AppendSymbol(symbol, piece, after_unknown, out);
  }
  return after_unknown;
}

void SentencePieceBpe::Encode(std::string_view raw, const TextPart& part,
                              std::vector<int32_t>& out) const {
  std::string buffer;
  const std::string text = vocab_.spaces.Apply(vocab_.normalizer.Apply(raw, buffer), part);
  bool after_unknown = false;
  size_t begin = 0;
  uint32_t last = Utf8Char::kInvalid;
  for (size_t at = 0; at < text.size();) {
    const Utf8Char c = DecodeUtf8(text, at);
    const bool cut = (vocab_.spaces.split && c.code_point == ' ') || !MayJoin(last, c.code_point);
    if (at > begin && cut) {
      after_unknown =
          EncodePiece(std::string_view(text).substr(begin, at - begin), after_unknown, out);
      begin = at;
    }
    last = c.code_point;
    at += c.length;
  }
  if (begin < text.size()) {
    EncodePiece(std::string_view(text).substr(begin), after_unknown, out);
  }
}

}  // namespace weft
