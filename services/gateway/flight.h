// One answer that is being made, for everybody who asked for exactly this.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>

#include "services/gateway/account.h"
#include "services/gateway/generation.h"
#include "weft/v1/cache.pb.h"

namespace weft::gateway {

// One who gets the answer.
struct Seat {
  std::unique_ptr<GenerationSink> sink;
  // Of a request that rides along; the one that pays for the generation has its account there.
  std::shared_ptr<Account> account;
  std::shared_ptr<std::atomic<bool>> abandoned;  // set when the answer could not begin
};

// Sends a recorded answer to a sink, as it came. `OnDone` is left to the caller.
void Replay(const v1::CachedAnswer& answer, int from, GenerationSink& sink);
UsedTokens TokensOf(const v1::CachedAnswer& answer);

// Thread safe. The generation's lock is outside ours; nothing of the generation is called under
// ours.
class Flight final : public std::enable_shared_from_this<Flight> {
 public:
  // `landed` gets the recorded answer when it is whole and may be kept, else nullptr; called once,
  // without locks of the flight, before the seats hear of the end.
  using Landed = std::function<void(const v1::CachedAnswer*)>;
  Flight(size_t max_bytes, Landed landed) : max_bytes_(max_bytes), landed_(std::move(landed)) {}

  // The sink for the generation. Once.
  std::unique_ptr<GenerationSink> Sink();
  void SetGeneration(const std::shared_ptr<Generation>& generation);

  // What was said so far comes at once. nullopt, and the seat untouched: it has ended, or is too
  // long to be repeated.
  std::optional<uint64_t> Join(Seat& seat);
  // Its client is gone. The generation goes on for the others, and ends with the last one.
  void Leave(uint64_t seat, std::string_view reason);
  // Looks for seats whose answer could not begin.
  void Tick();

 private:
  class Recorder;
  void OnBegin(const Totals& so_far);
  void OnPromptText(uint32_t choice, std::string_view text);
  void OnPromptLogprobs(uint32_t choice, std::span<const v1::TokenLogprob* const> entries);
  void OnPiece(uint32_t choice, const OutputGate::Piece& piece);
  void OnChoiceEnd(const ChoiceEnd& end);
  void OnDone(const Totals& totals);
  void OnFailed(const absl::Status& status);
  v1::CachedEvent* RecordLocked(uint32_t choice, size_t bytes);
  void LandLocked(std::unique_lock<std::mutex>& lock, const v1::CachedAnswer* answer);

  const size_t max_bytes_;
  Landed landed_;
  std::mutex mutex_;
  std::weak_ptr<Generation> generation_;
  std::map<uint64_t, Seat> seats_;
  uint64_t next_seat_ = 1;
  bool begun_ = false;
  bool over_ = false;
  bool keep_ = true;       // nothing speaks against keeping it
  bool recording_ = true;  // false: it grew too long
  size_t bytes_ = 0;
  v1::CachedAnswer answer_;
};

}  // namespace weft::gateway
