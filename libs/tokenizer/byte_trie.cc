#include "libs/tokenizer/byte_trie.h"

namespace weft {

// Level by level: a node stands for the items that share its text, a range of the sorted list.
ByteTrie::ByteTrie(std::vector<Item> items) {
  roots_.fill(kNone);
  std::stable_sort(items.begin(), items.end(),
                   [](const Item& a, const Item& b) { return a.text < b.text; });
  struct Work {
    uint32_t node;
    size_t begin;
    size_t end;
    size_t depth;  // bytes of the node's text
  };
  std::vector<Work> work;
  const auto add_children = [&](size_t begin, size_t end, size_t depth) {
    const auto first = static_cast<uint32_t>(nodes_.size());
    while (begin < end) {
      const char byte = items[begin].text[depth];
      size_t last = begin;
      while (last < end && items[last].text[depth] == byte) ++last;
      const auto node = static_cast<uint32_t>(nodes_.size());
      nodes_.push_back({0, 0, static_cast<uint8_t>(byte), -1});
      work.push_back({node, begin, last, depth + 1});
      begin = last;
    }
    return first;
  };
  add_children(0, items.size(), 0);
  for (uint32_t i = 0; i < nodes_.size(); ++i) roots_[nodes_[i].byte] = i;
  for (size_t next = 0; next < work.size(); ++next) {
    Work item = work[next];
    for (; item.begin < item.end && items[item.begin].text.size() == item.depth; ++item.begin) {
      if (nodes_[item.node].value < 0) nodes_[item.node].value = items[item.begin].value;
    }
    const uint32_t first = add_children(item.begin, item.end, item.depth);
    nodes_[item.node].first = first;
    nodes_[item.node].count = static_cast<uint16_t>(nodes_.size() - first);
  }
}

}  // namespace weft
