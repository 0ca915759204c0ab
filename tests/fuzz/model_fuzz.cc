// A hostile model file: configuration, tensor checks, repacking and one step with whatever weights
// it holds.
#include <cstdint>
#include <string>
#include <vector>

#include "libs/gguf/gguf.h"
#include "libs/model/model.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  auto file = weft::GgufFile::FromBytes(std::string(reinterpret_cast<const char*>(data), size));
  if (!file.ok()) return 0;
  for (const auto table : {weft::ModelOptions::Table::kCpu, weft::ModelOptions::Table::kRef}) {
    auto model = weft::Model::Load(*file, {.table = table, .threads = 1});
    if (!model.ok()) continue;
    const weft::ModelConfig& config = (*model)->config();
    if ((*model)->KvBytesPerBlock(64) > (1u << 24) || config.vocab > (1 << 16)) continue;
    if (!(*model)->AllocateKv(1, 64).ok()) continue;
    const int32_t rows = config.context_length < 3 ? 1 : 3;
    const int32_t page = 0;
    weft::StepBatch batch;
    for (int32_t i = 0; i < rows; ++i) {
      batch.tokens.push_back(i % config.vocab);
      batch.positions.push_back(i);
      batch.cache_slots.push_back(i);
      batch.wants_logits.push_back(1);
    }
    batch.sequences = {{0, rows, &page, 1, rows}};
    std::vector<float> logits(static_cast<size_t>(rows) * config.vocab);
    if (!(*model)->Forward(batch, logits).ok()) __builtin_trap();
  }
  return 0;
}
