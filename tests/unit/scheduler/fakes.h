// A tokenizer whose tokens are listed by the test, and the ports of a dispatcher, by hand.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "libs/base/clock.h"
#include "services/scheduler/dispatcher.h"

namespace weft::scheduler::testing {

// Token i is pieces[i]. Bytes of an unfinished character wait for the next token.
class FakeText final : public TokenText {
 public:
  explicit FakeText(std::vector<std::string> pieces) : pieces_(std::move(pieces)) {}

  std::unique_ptr<Detokenizer> NewDetokenizer() const override {
    class Stream final : public Detokenizer {
     public:
      explicit Stream(const FakeText& text) : text_(text) {}
      std::string Append(uint32_t id) override {
        tail_ += text_.Bytes(id);
        size_t whole = tail_.size();
        // Steps back over the continuation bytes of the last character.
        size_t lead = tail_.size();
        while (lead > 0 && (static_cast<uint8_t>(tail_[lead - 1]) & 0xC0) == 0x80) --lead;
        if (lead > 0) {
          const auto c = static_cast<uint8_t>(tail_[lead - 1]);
          const size_t need = c >= 0xF0 ? 4 : c >= 0xE0 ? 3 : c >= 0xC0 ? 2 : 1;
          if (tail_.size() - (lead - 1) < need) whole = lead - 1;
        }
        std::string out = tail_.substr(0, whole);
        tail_.erase(0, whole);
        return out;
      }
      std::string Flush() override {
        const bool rest = !tail_.empty();
        tail_.clear();
        return rest ? "\xEF\xBF\xBD" : "";
      }

     private:
      const FakeText& text_;
      std::string tail_;
    };
    return std::make_unique<Stream>(*this);
  }
  std::string_view Bytes(uint32_t id) const override {
    return id < pieces_.size() ? std::string_view(pieces_[id]) : std::string_view();
  }

 private:
  const std::vector<std::string> pieces_;
};

// A dispatcher, a fake clock, one gateway (session 1) and any number of workers. A prompt's tokens
// are its bytes; output token i reads as "i ".
class Bench : public GatewayPort, public WorkerPort, public Preparer, public Observer {
 public:
  explicit Bench(const DispatcherOptions& options = {})
      : dispatcher(options, {this, this, this, this}, clock) {
    std::vector<std::string> pieces;
    for (int i = 0; i < 256; ++i) pieces.push_back(std::to_string(i) + " ");
    text_ = std::make_shared<FakeText>(pieces);
    dispatcher.OnGatewayOpen(1);
    dispatcher.OnGatewayFrame(1, {});
  }

  // ---- what tests do ----

  static v1::Submit Request(uint32_t handle, std::string prompt = "abc") {
    v1::Submit s;
    s.set_handle(handle);
    s.set_request_id("r" + std::to_string(handle));
    s.set_model("m");
    s.set_prompt(std::move(prompt));
    s.mutable_sampling()->set_temperature(0);
    s.mutable_sampling()->set_top_p(1);
    s.mutable_sampling()->set_repetition_penalty(1);
    s.mutable_sampling()->set_max_tokens(16);
    s.mutable_sampling()->set_seed(5);
    s.set_share_key("tenant");
    return s;
  }
  void Submit(v1::Submit submit) {
    v1::GatewayFrame frame;
    *frame.add_submits() = std::move(submit);
    dispatcher.OnGatewayFrame(1, std::move(frame));
    Settle();
  }
  void Cancel(uint32_t handle) {
    v1::GatewayFrame frame;
    frame.add_cancels(handle);
    dispatcher.OnGatewayFrame(1, std::move(frame));
    Settle();
  }
  void AddWorker(uint64_t link, uint32_t sequences = 64, std::string model = "m",
                 std::string numerics = "cpu", std::string tokenizer = "t",
                 std::string version = "v1") {
    v1::WorkerWelcome w;
    w.set_worker_id("w" + std::to_string(link));
    w.set_block_tokens(64);
    v1::ModelInfo& info = *w.add_models();
    info.set_id(model);
    info.set_version(std::move(version));
    info.set_context_length(512);
    info.set_vocab_size(256);
    info.set_tokenizer_sha256(std::move(tokenizer));
    info.set_numerics_class(numerics);
    workers[link];
    dispatcher.OnWorkerWelcome(link, w);
    v1::StepFrame frame;
    v1::Credits& credits = *frame.add_credits();
    credits.set_model(model);
    credits.set_sequences(sequences);
    credits.set_kv_blocks(1000);
    dispatcher.OnStepFrame(link, std::move(frame));
    Settle();
  }
  // Gives everything the dispatcher wants to say the chance to go out.
  void Settle() {
    for (int i = 0; i < 4; ++i) {
      dispatcher.Pump();
      auto prepared = std::move(to_prepare_);
      to_prepare_.clear();
      if (hold_prepare) {
        to_prepare_ = std::move(prepared);
      } else {
        for (auto& [id, submit] : prepared) dispatcher.OnPrepared(id, Tokenise(*submit));
      }
      if (!gateway_stuck) dispatcher.OnGatewayWritable(1);
      for (auto& [link, items] : workers) dispatcher.OnWorkerWritable(link);
    }
  }
  void Wait(std::chrono::milliseconds t) {
    clock.Advance(t);
    for (auto& [link, w] : workers) {
      if (!w.broken && !w.mute) dispatcher.OnStepFrame(link, {});
    }
    Settle();
  }
  // One row for an item the worker holds. The item's log grows by these.
  void Row(uint64_t link, const v1::WorkItem& item, uint32_t first_index,
           const std::vector<uint32_t>& tokens,
           v1::FinishReason finish = v1::FINISH_REASON_UNSPECIFIED) {
    v1::StepFrame frame;
    AddRow(frame, item, first_index, tokens, finish);
    dispatcher.OnStepFrame(link, std::move(frame));
    Settle();
  }
  static void AddRow(v1::StepFrame& frame, const v1::WorkItem& item, uint32_t first_index,
                     const std::vector<uint32_t>& tokens,
                     v1::FinishReason finish = v1::FINISH_REASON_UNSPECIFIED) {
    frame.add_handles(item.handle());
    frame.add_attempts(item.attempt());
    frame.add_first_indexes(first_index);
    frame.add_token_counts(static_cast<uint32_t>(tokens.size()));
    frame.mutable_token_ids()->Add(tokens.begin(), tokens.end());
    if (finish != v1::FINISH_REASON_UNSPECIFIED) {
      v1::RowFinish& f = *frame.add_finishes();
      f.set_handle(item.handle());
      f.set_attempt(item.attempt());
      f.set_reason(finish);
    }
  }
  void Lose(uint64_t link) {
    workers[link].broken = true;
    dispatcher.OnWorkerLost(link, LossReason::kBroken, "test");
    Settle();
  }

  struct Worker {
    std::vector<v1::WorkItem> items;
    std::vector<uint32_t> cancels;
    int frames = 0;
    bool broken = false;
    bool mute = false;
  };
  struct Answer {
    bool accepted = false;
    std::string version;  // as accepted last
    std::vector<uint32_t> tokens;
    std::string text;
    std::vector<v1::TokenLogprob> logprobs;
    std::optional<v1::Finished> finished;
  };
  std::map<uint64_t, Worker> workers;
  std::map<uint32_t, Answer> answers;
  int gateway_frames = 0;
  bool gateway_stuck = false;
  bool gateway_told_draining = false;
  int gateway_closed_with = 0;
  bool hold_prepare = false;
  bool tokenizer_there = true;
  bool prepare_full = false;
  size_t stale_rows = 0;
  int lost_workers = 0;
  int ran_alone = 0;
  int other_numerics = 0;
  FakeClock clock;
  Dispatcher dispatcher;

  // ---- ports ----

  void Write(uint64_t, v1::DeltaFrame frame) override {
    ++gateway_frames;
    gateway_told_draining |= frame.draining();
    for (const auto& a : frame.accepted()) {
      if (answers[a.handle()].accepted && !answers[a.handle()].tokens.empty()) throw 3;
      answers[a.handle()].accepted = true;
      answers[a.handle()].version = a.model_version();
    }
    size_t token = 0;
    size_t byte = 0;
    for (int i = 0; i < frame.handles_size(); ++i) {
      Answer& answer = answers[frame.handles(i)];
      if (answer.tokens.size() != frame.first_indexes(i) && frame.token_counts(i) > 0) throw 1;
      if (answer.text.size() != frame.byte_offsets(i)) throw 2;
      for (uint32_t n = 0; n < frame.token_counts(i); ++n) {
        answer.tokens.push_back(frame.token_ids(static_cast<int>(token++)));
      }
      answer.text += frame.text().substr(byte, frame.text_lengths(i));
      byte += frame.text_lengths(i);
    }
    for (const auto& l : frame.logprobs()) {
      auto& to = answers[l.handle()].logprobs;
      to.insert(to.end(), l.tokens().begin(), l.tokens().end());
    }
    for (const auto& f : frame.finished()) answers[f.handle()].finished = f;
  }
  void Close(uint64_t, int code, std::string) override { gateway_closed_with = code; }
  void Write(uint64_t link, v1::WorkFrame frame) override {
    Worker& w = workers[link];
    ++w.frames;
    w.items.insert(w.items.end(), frame.items().begin(), frame.items().end());
    w.cancels.insert(w.cancels.end(), frame.cancels().begin(), frame.cancels().end());
  }
  void Break(uint64_t link, std::string_view) override { workers[link].broken = true; }

  bool HasTokenizer(const v1::ModelInfo&) const override { return tokenizer_there; }
  bool Prepare(uint64_t request, std::shared_ptr<const v1::Submit> submit,
               const v1::ModelInfo&) override {
    if (prepare_full) return false;
    to_prepare_.emplace_back(request, std::move(submit));
    return true;
  }
  Prepared Tokenise(const v1::Submit& submit) {
    Prepared p;
    p.text = text_;
    if (submit.has_resume()) {
      p.prompt_ids.assign(submit.resume().prompt_ids().begin(), submit.resume().prompt_ids().end());
    } else {
      for (const char c : submit.prompt()) p.prompt_ids.push_back(static_cast<uint8_t>(c));
    }
    return p;
  }

  std::unique_ptr<RequestTrace> BeginRequest(const v1::Submit&) override { return nullptr; }
  void RequestFinished(const RequestSummary&) override {}
  void WorkerReady(std::string_view, const v1::WorkerWelcome&) override {}
  void WorkerLost(std::string_view, LossReason, std::string_view, size_t) override {
    ++lost_workers;
  }
  void Redispatched(std::string_view, uint32_t, size_t, bool same) override {
    if (!same) ++other_numerics;
  }
  void SuspectRunsAlone(std::string_view) override { ++ran_alone; }
  void StaleRows(size_t n) override { stale_rows += n; }
  void SetGauges(const Gauges& g) override { gauges = g; }
  Gauges gauges;

 private:
  std::shared_ptr<const TokenText> text_;
  std::vector<std::pair<uint64_t, std::shared_ptr<const v1::Submit>>> to_prepare_;
};

}  // namespace weft::scheduler::testing
