// A set of texts, searched for all that another text begins with.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <string_view>
#include <vector>

namespace weft {

// Thread safe once built. Nodes have their children in one run, sorted by byte.
class ByteTrie {
 public:
  struct Item {
    std::string_view text;  // not empty; of two alike the first counts
    int32_t value;          // >= 0
  };
  explicit ByteTrie(std::vector<Item> items = {});

  // Calls visit(size, value) for each text that `text` begins with, the shortest first.
  template <typename Visit>
  void ForEachPrefix(std::string_view text, Visit visit) const {
    if (text.empty()) return;
    uint32_t node = roots_[static_cast<uint8_t>(text[0])];
    for (size_t size = 1; node != kNone; ++size) {
      const Node& here = nodes_[node];
      if (here.value >= 0) visit(size, here.value);
      if (size == text.size()) return;
      node = Child(here, static_cast<uint8_t>(text[size]));
    }
  }

 private:
  static constexpr uint32_t kNone = ~0u;
  struct Node {
    uint32_t first = 0;  // its children
    uint16_t count = 0;
    uint8_t byte = 0;
    int32_t value = -1;
  };
  uint32_t Child(const Node& parent, uint8_t byte) const {
    const auto begin = nodes_.begin() + parent.first;
    const auto end = begin + parent.count;
    const auto it = std::lower_bound(
        begin, end, byte, [](const Node& node, uint8_t wanted) { return node.byte < wanted; });
    return it == end || it->byte != byte ? kNone : static_cast<uint32_t>(it - nodes_.begin());
  }

  std::array<uint32_t, 256> roots_;
  std::vector<Node> nodes_;
};

}  // namespace weft
