#include "tests/support/fake_model.h"

#include <algorithm>
#include <unordered_set>
#include <utility>

#include "libs/base/status.h"
#include "tests/support/fake_steps.h"

namespace weft {
namespace {

uint64_t Mix(uint64_t x) {  // splitmix64's finaliser
  x += 0x9E3779B97F4A7C15ULL;
  x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9ULL;
  x = (x ^ (x >> 27)) * 0x94D049BB133111EBULL;
  return x ^ (x >> 31);
}

constexpr uint64_t kGarbage = 0xDEADDEADDEADDEADULL;

}  // namespace

FakeModel::FakeModel(FakeModelOptions options) : options_(std::move(options)) {
  config_.architecture = "fake";
  config_.layers = 1;
  config_.vocab = options_.vocab;
  config_.context_length = options_.context_length;
  config_.eos_ids = options_.eos_ids;
  if (options_.ahead) steps_ = std::make_unique<FakeSteps>(*this);
}
FakeModel::~FakeModel() = default;

DeviceSteps* FakeModel::device_steps() { return steps_.get(); }

absl::Status FakeModel::AllocateKv(int32_t blocks, int32_t block_tokens) {
  blocks_ = blocks;
  block_tokens_ = block_tokens;
  cache_.assign(static_cast<size_t>(blocks) * static_cast<size_t>(block_tokens), kGarbage);
  return absl::OkStatus();
}

uint64_t FakeModel::KvBytesPerBlock(int32_t block_tokens) const {
  return static_cast<uint64_t>(block_tokens) * sizeof(uint64_t);
}

absl::Status FakeModel::Check(const StepBatch& batch) const {
  const size_t rows = batch.tokens.size();
  if (rows == 0 || batch.positions.size() != rows || batch.cache_slots.size() != rows ||
      batch.wants_logits.size() != rows) {
    return InvalidArgument("rows: the arrays differ in length");
  }
  std::unordered_set<int32_t> written;
  int32_t next_row = 0;
  for (const StepBatch::Sequence& s : batch.sequences) {
    if (s.first_row != next_row || s.rows < 1) return InvalidArgument("sequences: not in order");
    next_row += s.rows;
    for (int32_t row = s.first_row; row < next_row; ++row) {
      const auto r = static_cast<size_t>(row);
      const int32_t position = batch.positions[r];
      if (position != s.context_tokens - next_row + row) return InvalidArgument("positions");
      const int32_t page = position / block_tokens_;
      if (page >= s.blocks) return InvalidArgument("block_table: too short");
      const int32_t block = s.block_table[page];
      if (block < 0 || block >= blocks_) return InvalidArgument("block_table: no such block");
      if (batch.cache_slots[r] != block * block_tokens_ + position % block_tokens_) {
        return InvalidArgument("cache_slots: not where the block table says");
      }
      if (!written.insert(batch.cache_slots[r]).second) {
        return InvalidArgument("cache_slots: written twice in a step");
      }
      if (batch.tokens[r] < 0 || batch.tokens[r] >= config_.vocab) {
        return InvalidArgument("tokens");
      }
    }
  }
  if (next_row != static_cast<int32_t>(rows)) return InvalidArgument("sequences: rows left over");
  // Nobody reads in this step what somebody else writes in it: shared blocks are never written.
  for (const StepBatch::Sequence& s : batch.sequences) {
    for (int32_t position = 0; position < s.context_tokens - s.rows; ++position) {
      const int32_t slot =
          s.block_table[position / block_tokens_] * block_tokens_ + position % block_tokens_;
      if (written.contains(slot)) return InvalidArgument("cache_slots: a cached slot is written");
    }
  }
  return absl::OkStatus();
}

absl::Status FakeModel::Forward(const StepBatch& batch, std::span<float> logits) {
  WEFT_RETURN_IF_ERROR(Check(batch));
  if (options_.before_forward) {
    if (absl::Status status = options_.before_forward(batch); !status.ok()) {
      failed_ = true;
      for (int32_t slot : batch.cache_slots) cache_[static_cast<size_t>(slot)] = kGarbage;
      return status;
    }
  }
  ++forwards_;
  largest_batch_ = std::max(largest_batch_, static_cast<int32_t>(batch.sequences.size()));
  size_t out = 0;
  const auto vocab = static_cast<size_t>(config_.vocab);
  for (const StepBatch::Sequence& s : batch.sequences) {
    uint64_t state = 0;
    for (int32_t position = 0; position < s.context_tokens; ++position) {
      const auto slot = static_cast<size_t>(
          s.block_table[position / block_tokens_] * block_tokens_ + position % block_tokens_);
      const int32_t row = position - (s.context_tokens - s.rows);
      if (row >= 0) {
        const auto r = static_cast<size_t>(s.first_row + row);
        cache_[slot] =
            Mix(static_cast<uint64_t>(batch.tokens[r]) << 32 | static_cast<uint64_t>(position));
      }
      state = Mix(state ^ cache_[slot]);
      if (row >= 0 && batch.wants_logits[static_cast<size_t>(s.first_row + row)] != 0) {
        if ((out + 1) * vocab > logits.size()) return InvalidArgument("logits: too short");
        Predict(state, logits.subspan(out++ * vocab, vocab));
      }
    }
  }
  if (out * vocab != logits.size()) return InvalidArgument("logits: too long");
  layers_.fetch_add(1);
  return absl::OkStatus();
}

void FakeModel::Predict(uint64_t state, std::span<float> logits) const {
  for (size_t i = 0; i < logits.size(); ++i) {
    // Spread over [-4, 4): peaked enough for top-p to matter, flat enough for seeds to matter.
    logits[i] = static_cast<float>(Mix(state + i) >> 40) * 0x1.0p-24F * 8.0F - 4.0F;
  }
  for (int32_t id : options_.eos_ids) logits[static_cast<size_t>(id)] += options_.eos_logit;
}

}  // namespace weft
