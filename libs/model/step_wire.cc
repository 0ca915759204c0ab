#include "libs/model/step_wire.h"

#include <cstring>
#include <limits>
#include <type_traits>

#include "libs/base/status.h"

namespace weft {
namespace {

struct Head {
  uint32_t rows = 0, sequences = 0, blocks = 0;
};

struct WireSequence {
  int32_t first_row, rows, blocks, context_tokens;
};

template <typename T>
void Append(std::vector<std::byte>& out, const T* values, size_t count) {
  static_assert(std::is_trivially_copyable_v<T>);
  const auto* from = reinterpret_cast<const std::byte*>(values);
  out.insert(out.end(), from, from + count * sizeof(T));
}

// Takes values from the front of what is left. The size was checked before.
class Taker {
 public:
  explicit Taker(std::span<const std::byte> bytes) : left_(bytes) {}
  template <typename T>
  void Take(std::vector<T>& out, size_t count) {
    out.resize(count);
    if (count > 0) std::memcpy(out.data(), left_.data(), count * sizeof(T));
    left_ = left_.subspan(count * sizeof(T));
  }

 private:
  std::span<const std::byte> left_;
};

}  // namespace

void EncodeStep(const StepBatch& batch, std::vector<std::byte>& out) {
  out.clear();
  Head head{static_cast<uint32_t>(batch.rows()), static_cast<uint32_t>(batch.sequences.size()), 0};
  for (const StepBatch::Sequence& s : batch.sequences)
    head.blocks += static_cast<uint32_t>(s.blocks);
  Append(out, &head, 1);
  Append(out, batch.tokens.data(), batch.tokens.size());
  Append(out, batch.positions.data(), batch.positions.size());
  Append(out, batch.cache_slots.data(), batch.cache_slots.size());
  Append(out, batch.wants_logits.data(), batch.wants_logits.size());
  for (const StepBatch::Sequence& s : batch.sequences) {
    const WireSequence wire{s.first_row, s.rows, s.blocks, s.context_tokens};
    Append(out, &wire, 1);
  }
  for (const StepBatch::Sequence& s : batch.sequences) {
    Append(out, s.block_table, static_cast<size_t>(s.blocks));
  }
}

absl::Status DecodeStep(std::span<const std::byte> bytes, OwnedStep& out) {
  Head head;
  if (bytes.size() < sizeof(head)) {
    return InvalidArgument("a step of {} bytes: expected {} at least", bytes.size(), sizeof(head));
  }
  std::memcpy(&head, bytes.data(), sizeof(head));
  constexpr uint64_t kOfRow = 3 * sizeof(int32_t) + sizeof(uint8_t);
  const uint64_t size = sizeof(head) + head.rows * kOfRow +
                        head.sequences * uint64_t{sizeof(WireSequence)} +
                        head.blocks * uint64_t{sizeof(int32_t)};
  if (size != bytes.size()) {
    return InvalidArgument(
        "a step of {} rows, {} sequences and {} blocks: expected {} bytes, found {}", head.rows,
        head.sequences, head.blocks, size, bytes.size());
  }
  Taker taker(bytes.subspan(sizeof(head)));
  StepBatch& batch = out.batch;
  taker.Take(batch.tokens, head.rows);
  taker.Take(batch.positions, head.rows);
  taker.Take(batch.cache_slots, head.rows);
  taker.Take(batch.wants_logits, head.rows);
  std::vector<WireSequence> sequences;
  taker.Take(sequences, head.sequences);
  taker.Take(out.tables, head.blocks);
  batch.sequences.clear();
  uint64_t block = 0;
  for (size_t i = 0; i < sequences.size(); ++i) {
    const WireSequence& s = sequences[i];
    if (s.blocks < 0 || static_cast<uint64_t>(s.blocks) > head.blocks - block) {
      return InvalidArgument("sequences[{}].blocks: {} of the {} that are left", i, s.blocks,
                             head.blocks - block);
    }
    batch.sequences.push_back(
        {s.first_row, s.rows, out.tables.data() + block, s.blocks, s.context_tokens});
    block += static_cast<uint64_t>(s.blocks);
  }
  if (block != head.blocks) {
    return InvalidArgument("sequences: {} of {} blocks are nobody's", head.blocks - block,
                           head.blocks);
  }
  return absl::OkStatus();
}

}  // namespace weft
