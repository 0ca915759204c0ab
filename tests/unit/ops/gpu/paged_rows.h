// What the tests of attention share: rows of sequences whose tokens lie in scattered pages, and the
// part of a launch that says so.
#pragma once

#include <algorithm>
#include <numeric>
#include <random>
#include <utility>
#include <vector>

#include "libs/ops/attention_gpu.h"
#include "tests/unit/ops/gpu/rig.h"

namespace weft::test {

struct PagedRows {
  // Of every sequence: context lengths after the rows, and rows.
  PagedRows(std::vector<std::pair<int32_t, int32_t>> of, int32_t block)
      : sequences(std::move(of)), block_tokens(block) {
    for (const auto& [tokens, count] : sequences) {
      first_rows.push_back(rows);
      tables_at.push_back(pages);
      rows += count;
      pages += (tokens + block - 1) / block;
      for (int32_t i = 0; i < count; ++i) positions.push_back(tokens - count + i);
    }
    tables.resize(static_cast<size_t>(pages));
    std::iota(tables.begin(), tables.end(), 0);
    std::shuffle(tables.begin(), tables.end(), std::mt19937(3));
  }

  // Of up to `step` rows each, of the sequences that `chosen` is true of (by their rows).
  template <typename F>
  std::vector<gpu::AttentionItem> Items(int32_t step, bool spread, const F& chosen) const {
    std::vector<gpu::AttentionItem> items;
    for (size_t i = 0; i < sequences.size(); ++i) {
      const auto [tokens, count] = sequences[i];
      if (!chosen(count)) continue;
      for (int32_t r = 0; r < count; r += step) {
        items.push_back({first_rows[i] + r, std::min(step, count - r), tokens - count + r,
                         tables_at[i], spread ? 1 : 0});
      }
    }
    return items;
  }

  std::vector<std::pair<int32_t, int32_t>> sequences;
  int32_t block_tokens = 0, rows = 0, pages = 0;
  std::vector<int32_t> tables, tables_at, first_rows, positions;
};

// On the device: items, tables and room for partial sums. params() lacks queries, pages, results
// and what is the kernel's own.
class AttentionLaunch {
 public:
  AttentionLaunch(Rig& rig, const PagedRows& of, int32_t heads, int32_t head_dim,
                  const std::vector<gpu::AttentionItem>& items,
                  const std::vector<gpu::AttentionItem>& prefill = {})
      : items_(rig.Put(items)),
        prefill_(rig.Put(prefill)),
        tables_(rig.Put(of.tables)),
        positions_(rig.Put(of.positions)) {
    std::vector<int32_t> places(static_cast<size_t>(of.rows), -1);
    int32_t spread_rows = 0, chunks = 1;
    for (const gpu::AttentionItem& item : items) {
      if (item.spread == 0) continue;
      for (int32_t r = 0; r < item.rows; ++r) {
        places[static_cast<size_t>(item.first_row + r)] = spread_rows++;
      }
      chunks = std::max(chunks, (item.first_position + item.rows - 1) / gpu::kChunkTokens + 1);
    }
    partial_rows_ = rig.Put(places);
    const auto sums = static_cast<size_t>(int64_t{spread_rows} * heads * chunks);
    partial_o_ = rig.Room<float>(sums * static_cast<size_t>(head_dim));
    partial_ml_ = rig.Room<float>(sums * 2);
    params_.items = items_.get();
    params_.item_count = static_cast<int32_t>(items.size());
    params_.prefill_items = prefill_.get();
    params_.prefill_count = static_cast<int32_t>(prefill.size());
    params_.tables = tables_.get();
    params_.positions = positions_.get();
    params_.partial_rows = partial_rows_.get();
    params_.partial_o = partial_o_.get();
    params_.partial_ml = partial_ml_.get();
    params_.rows = of.rows;
    params_.heads = heads;
    params_.head_dim = head_dim;
    params_.block_tokens = of.block_tokens;
    params_.chunks = chunks;
  }
  const gpu::AttentionParams& params() const { return params_; }

 private:
  OnDevice<gpu::AttentionItem> items_, prefill_;
  OnDevice<int32_t> tables_, positions_, partial_rows_;
  OnDevice<float> partial_o_, partial_ml_;
  gpu::AttentionParams params_;
};

}  // namespace weft::test
