#include "libs/tokenizer/bpe_merger.h"

#include <absl/container/flat_hash_map.h>

#include <algorithm>
#include <string>

#include "libs/base/status.h"

namespace weft {

absl::StatusOr<MergeTable> ReadMerges(std::span<const std::string_view> names,
                                      std::span<const std::string_view> merges) {
  // Seeded per process: a hostile file cannot make it collide.
  absl::flat_hash_map<std::string, int32_t> ids;
  ids.reserve(names.size());
  for (size_t i = 0; i < names.size(); ++i) {  // of two alike, the first
    if (!names[i].empty()) ids.emplace(std::string(names[i]), static_cast<int32_t>(i));
  }
  MergeTable table(merges.size());
  std::string joined;
  for (size_t rank = 0; rank < merges.size(); ++rank) {
    const std::string_view merge = merges[rank];
    const size_t space = merge.find(' ', 1);
    if (space == std::string_view::npos || space + 1 >= merge.size()) {
      return InvalidArgument("tokenizer.ggml.merges[{}] is not two tokens with a space between",
                             rank);
    }
    const auto left = ids.find(std::string(merge.substr(0, space)));
    const auto right = ids.find(std::string(merge.substr(space + 1)));
    joined.assign(merge.substr(0, space));
    joined += merge.substr(space + 1);
    const auto whole = ids.find(joined);
    if (left == ids.end() || right == ids.end() || whole == ids.end()) {
      return InvalidArgument("tokenizer.ggml.merges[{}]: {} is not in tokenizer.ggml.tokens", rank,
                             left == ids.end()    ? "its left part"
                             : right == ids.end() ? "its right part"
                                                  : "its result");
    }
    // A pair given twice has its last rank, as in the reference.
    table.Put(left->second, right->second, static_cast<uint32_t>(rank), whole->second);
  }
  return table;
}

absl::StatusOr<std::unique_ptr<BpeMerger>> BpeMerger::Create(
    std::span<const std::string_view> names, std::span<const std::string_view> bytes,
    std::span<const std::string_view> merges, const Options& options) {
  std::unique_ptr<BpeMerger> merger(new BpeMerger());
  std::fill(std::begin(merger->byte_tokens_), std::end(merger->byte_tokens_), -1);
  for (size_t i = 0; i < names.size(); ++i) {
    if (names[i].empty() || bytes[i].size() != 1) continue;
    int32_t& token = merger->byte_tokens_[static_cast<uint8_t>(bytes[i][0])];
    if (token < 0) token = static_cast<int32_t>(i);
  }
  WEFT_ASSIGN_OR_RETURN(merger->merges_, ReadMerges(names, merges));
  std::vector<WordTable::Word> words;
  std::vector<int32_t> merged;
  for (size_t i = 0; i < bytes.size(); ++i) {
    if (bytes[i].empty()) continue;
    const auto id = static_cast<int32_t>(i);
    if (!options.whole_pieces_first) {
      merged.clear();
      merger->Merge(bytes[i], merged);
      if (merged.size() != 1 || merged[0] != id) continue;
    }
    words.push_back({bytes[i], id});
  }
  merger->words_ = WordTable(words);
  return merger;
}

void BpeMerger::Encode(std::string_view piece, std::vector<int32_t>& out) const {
  if (piece.empty()) return;
  if (const int32_t id = words_.Find(piece); id >= 0) {
    out.push_back(id);
  } else {
    Merge(piece, out);
  }
}

void BpeMerger::Merge(std::string_view piece, std::vector<int32_t>& out) const {
  if (piece.size() <= MergeTable::kShort) {
    int32_t ids[MergeTable::kShort];
    size_t size = 0;
    for (const char c : piece) {
      const int32_t id = byte_tokens_[static_cast<uint8_t>(c)];
      if (id >= 0) ids[size++] = id;
    }
    out.insert(out.end(), ids, ids + merges_.MergeShort(ids, size));
    return;
  }
  std::vector<int32_t> ids;
  ids.reserve(piece.size());
  for (const char c : piece) {
    const int32_t id = byte_tokens_[static_cast<uint8_t>(c)];
    if (id >= 0) ids.push_back(id);
  }
  merges_.MergeLong(ids);
  out.insert(out.end(), ids.begin(), ids.end());
}

}  // namespace weft
