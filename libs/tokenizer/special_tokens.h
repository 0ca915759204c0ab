// Finds control and user-defined tokens inside text.
#pragma once

#include <absl/container/flat_hash_map.h>

#include <bitset>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "libs/tokenizer/marked_text.h"

namespace weft {

// Thread safe once filled.
class SpecialTokens {
 public:
  struct Match {
    size_t begin;
    size_t end;
    int32_t id;
  };

  // The first of two equal texts wins. `text` must not be empty. A guarded token is not found where
  // a byte of it is literal.
  void Add(std::string_view text, int32_t id, bool guarded);

  // The first match at or after `from`; of those at one place, the longest. `literal` is ascending
  // and disjoint.
  bool FindNext(std::string_view text, size_t from, std::span<const TextRange> literal,
                Match& match) const;

  bool empty() const { return ids_.empty(); }

 private:
  // A trie: node 0 is the root, children by (node << 8 | byte).
  absl::flat_hash_map<uint64_t, uint32_t> children_;
  std::vector<int32_t> ids_;   // [nodes] the token that ends here, or -1
  std::vector<bool> guarded_;  // [nodes]
  std::bitset<256> first_bytes_;
};

}  // namespace weft
