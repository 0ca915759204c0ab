// Any schedule of any items: the engine must not crash, must end every item it took exactly once,
// and must get every KV block back. The bytes are operations and their operands.
#include <chrono>
#include <cstdint>
#include <cstring>
#include <memory>
#include <unordered_set>
#include <utility>

#include "libs/base/clock.h"
#include "libs/base/status.h"
#include "libs/engine/engine.h"
#include "tests/support/fake_model.h"

namespace {

using weft::engine::Engine;
using weft::engine::EngineOptions;
using weft::engine::StepOutput;
using weft::engine::WorkItem;

class Bytes {
 public:
  Bytes(const uint8_t* data, size_t size) : data_(data), left_(size) {}
  bool empty() const { return left_ == 0; }
  uint8_t Next() {
    if (left_ == 0) return 0;
    --left_;
    return *data_++;
  }
  // Mostly a value in a sensible range, now and then whatever the bytes say.
  float Float(float low, float high) {
    const uint8_t b = Next();
    if (b < 240) return low + (high - low) * static_cast<float>(b) / 239.0F;
    uint32_t bits = 0;
    for (int i = 0; i < 4; ++i) bits = bits << 8 | Next();
    float value;
    std::memcpy(&value, &bits, sizeof value);
    return value;
  }
  int32_t Token() {
    const uint8_t b = Next();
    return b < 250 ? b % 101 : static_cast<int32_t>(b) * 1000003 * (b % 2 == 0 ? 1 : -1);
  }

 private:
  const uint8_t* data_;
  size_t left_;
};

WorkItem Item(Bytes& in, uint64_t id, weft::SteadyTime now) {
  WorkItem item;
  item.id = id;
  item.attempt = in.Next();
  const int first = in.Next();
  const int64_t t = in.Token();  // any 32 bits: the product needs more
  for (int n = first; n > 0; --n) item.prompt.push_back(static_cast<int32_t>((t * n + n) % 101));
  if (in.Next() % 8 == 0) item.prompt.push_back(in.Token());
  for (int n = in.Next() % 16; n > 0; --n) item.output.push_back(in.Token());
  auto& p = item.sampling;
  p.temperature = in.Float(0, 2);
  p.top_p = in.Float(0.01F, 1);
  p.top_k = in.Next() % 120;
  p.min_p = in.Float(0, 1);
  p.repetition_penalty = in.Float(0.5F, 2);
  p.presence_penalty = in.Float(-2, 2);
  p.frequency_penalty = in.Float(-2, 2);
  p.max_tokens = in.Next();
  p.min_tokens = in.Next() % 8;
  p.ignore_eos = in.Next() % 2 == 0;
  for (int n = in.Next() % 4; n > 0; --n) p.stop_token_ids.push_back(in.Token());
  for (int n = in.Next() % 4; n > 0; --n)
    p.logit_bias.emplace_back(in.Token(), in.Float(-100, 100));
  p.logprobs = in.Next() % 2 == 0;
  p.top_logprobs = in.Next() % 24;
  p.seed = in.Next();
  item.choice = in.Next();
  item.share_key = in.Next() % 4;
  item.weight = static_cast<double>(in.Float(0.5F, 4));
  item.priority = static_cast<int8_t>(in.Next());
  if (in.Next() % 8 == 0) item.deadline = now + std::chrono::milliseconds(in.Next());
  item.kv_salt.assign(in.Next() % 3, 's');
  return item;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  Bytes in(data, size);
  EngineOptions options;
  options.max_sequences = 1 + in.Next() % 8;
  options.token_budget = options.max_sequences + in.Next();
  options.max_waiting = 8;
  options.max_waiting_per_key = 6;
  options.kv_blocks = 1 + in.Next() % 16;
  options.prefix_cache = in.Next() % 4 != 0;
  const uint8_t fault = in.Next();
  weft::FakeModelOptions model;
  uint8_t passes = 0;
  model.before_forward = [&](const weft::StepBatch&) -> absl::Status {
    if (fault > 200 && ++passes % fault == 0) return weft::Internal("injected");
    return absl::OkStatus();
  };
  weft::FakeClock clock;
  auto engine = Engine::Create(std::make_unique<weft::FakeModel>(model), options, clock);
  WEFT_CHECK(engine.ok());

  std::unordered_set<uint64_t> open;
  StepOutput out;
  auto step = [&] {
    (*engine)->Step(&out);
    for (const auto& row : out.rows) WEFT_CHECK(row.token_count == 1);
    for (const auto& finish : out.finishes) WEFT_CHECK(open.erase(finish.id) == 1);
  };
  uint64_t next_id = 1;
  for (int operations = 0; operations < 300 && !in.empty(); ++operations) {
    const uint8_t what = in.Next() % 8;
    if (what < 2) {
      WorkItem item = Item(in, next_id, clock.Now());
      if ((*engine)->Submit(std::move(item)).ok()) open.insert(next_id++);
    } else if (what == 2) {
      (*engine)->Cancel(in.Next());
    } else if (what == 3) {
      clock.Advance(std::chrono::milliseconds(in.Next()));
    } else {
      step();
    }
  }
  for (int i = 0; i < 20; ++i) step();
  (*engine)->CancelAll();
  step();
  WEFT_CHECK((*engine)->idle());
  WEFT_CHECK(open.empty());
  WEFT_CHECK((*engine)->stats().kv_blocks_free == (*engine)->stats().kv_blocks_total);
  return 0;
}
