#include "libs/comm/in_process.h"

#include <algorithm>
#include <array>
#include <atomic>

#include "libs/base/clock.h"
#include "libs/base/status.h"
#include "libs/comm/fate.h"

namespace weft::comm {
namespace {

// Larger calls go in pieces, so that what ranks share stays in the cache and small.
constexpr size_t kPieceFloats = size_t{1} << 16;
constexpr size_t kPieceBytes = kPieceFloats * sizeof(float);
// Messages on the way from one rank to another.
constexpr size_t kInFlight = 2;

enum class Call : uint8_t { kAllReduce, kAllGather, kBroadcast, kBarrier };
constexpr const char* kCallNames[] = {"AllReduceSum", "AllGather", "Broadcast", "Barrier"};

// What a rank brings to a call.
struct Slot {
  Call call = Call::kBarrier;
  size_t size = 0;  // bytes of the whole call, which all ranks must agree on
  std::vector<std::byte> data;
};

// A rank writes the slot of its next call and then raises `arrived`. It can come back to the same
// slot only two calls later, and so after the call between, to which every other rank came when it
// had read what the slot held.
struct alignas(64) Member {
  std::atomic<uint64_t> arrived{0};
  std::array<Slot, 2> slots;
};

// Messages from one rank to another.
struct alignas(64) Channel {
  std::atomic<uint64_t> sent{0};
  std::atomic<uint64_t> taken{0};
  std::array<std::vector<float>, kInFlight> messages;
};

struct Group {
  explicit Group(const InProcessOptions& o)
      : options(o),
        fate(o.fate != nullptr ? o.fate : std::make_shared<Fate>()),
        members(static_cast<size_t>(o.size)),
        channels(static_cast<size_t>(o.size) * static_cast<size_t>(o.size)) {}

  Channel& channel(int from, int to) {
    return channels[static_cast<size_t>(from * options.size + to)];
  }

  const InProcessOptions options;
  const std::shared_ptr<Fate> fate;
  std::vector<Member> members;
  std::vector<Channel> channels;
};

class InProcess final : public Communicator {
 public:
  InProcess(std::shared_ptr<Group> group, int rank) : group_(std::move(group)), rank_(rank) {}

  int rank() const override { return rank_; }
  int size() const override { return group_->options.size; }

  absl::Status AllReduceSum(std::span<float> data) override {
    return InPieces(data.size(), [&](size_t first, size_t count) -> absl::Status {
      const std::span<float> piece = data.subspan(first, count);
      WEFT_RETURN_IF_ERROR(Meet(Call::kAllReduce, data.size_bytes(), std::as_bytes(piece)));
      TakeFrom(0, std::as_writable_bytes(piece));
      for (int other = 1; other < size(); ++other) {
        const auto* theirs = reinterpret_cast<const float*>(Theirs(other).data());
        for (size_t i = 0; i < count; ++i) piece[i] += theirs[i];
      }
      return absl::OkStatus();
    });
  }

  absl::Status AllGather(std::span<const float> mine, std::span<float> all) override {
    if (!all.empty() && all.size() != mine.size() * static_cast<size_t>(size())) {
      return Fail(InvalidArgument("AllGather: expected room for {} times {} elements, found {}",
                                  size(), mine.size(), all.size()));
    }
    return InPieces(mine.size(), [&](size_t first, size_t count) -> absl::Status {
      const std::span<const float> piece = mine.subspan(first, count);
      WEFT_RETURN_IF_ERROR(Meet(Call::kAllGather, mine.size_bytes(), std::as_bytes(piece)));
      if (all.empty()) return absl::OkStatus();
      for (int other = 0; other < size(); ++other) {
        const size_t at = static_cast<size_t>(other) * mine.size() + first;
        TakeFrom(other, std::as_writable_bytes(all.subspan(at, count)));
      }
      return absl::OkStatus();
    });
  }

  absl::Status Broadcast(std::span<std::byte> data, int root) override {
    if (root < 0 || root >= size()) {
      return Fail(InvalidArgument("Broadcast: rank {} of {}", root, size()));
    }
    return InPieces(data.size(), kPieceBytes, [&](size_t first, size_t count) -> absl::Status {
      const std::span<std::byte> piece = data.subspan(first, count);
      const std::span<const std::byte> mine = rank_ == root ? piece : piece.first(0);
      WEFT_RETURN_IF_ERROR(Meet(Call::kBroadcast, data.size(), mine));
      if (rank_ != root) TakeFrom(root, piece);
      return absl::OkStatus();
    });
  }

  absl::Status Barrier() override { return Meet(Call::kBarrier, 0, {}); }

  absl::Status Send(std::span<const float> data, int to) override {
    WEFT_RETURN_IF_ERROR(CheckPeer("Send", to));
    Channel& channel = group_->channel(rank_, to);
    const uint64_t number = channel.sent.load(std::memory_order_relaxed);
    WEFT_RETURN_IF_ERROR(
        Wait([&] { return channel.taken.load() + kInFlight > number; }, "Send", to, Deadline()));
    channel.messages[number % kInFlight].assign(data.begin(), data.end());
    channel.sent.store(number + 1);
    group_->fate->Notify();
    return absl::OkStatus();
  }

  absl::Status Recv(std::span<float> data, int from) override {
    WEFT_RETURN_IF_ERROR(CheckPeer("Recv", from));
    Channel& channel = group_->channel(from, rank_);
    const uint64_t number = channel.taken.load(std::memory_order_relaxed);
    WEFT_RETURN_IF_ERROR(
        Wait([&] { return channel.sent.load() > number; }, "Recv", from, Deadline()));
    const std::vector<float>& message = channel.messages[number % kInFlight];
    if (message.size() != data.size()) {
      return Fail(Internal("Recv: rank {} sent {} elements, expected {}", from, message.size(),
                           data.size()));
    }
    std::copy(message.begin(), message.end(), data.begin());
    channel.taken.store(number + 1);
    group_->fate->Notify();
    return absl::OkStatus();
  }

  void Abort(const absl::Status& reason) override {
    if (group_->fate->aborted()) return;
    group_->fate->Abort(MakeStatus(absl::StatusCode::kAborted,
                                   fmt::format("rank {} gave up: {}", rank_, Message(reason))));
  }

  absl::Status status() const override { return group_->fate->status(); }

 private:
  template <typename Fn>
  absl::Status InPieces(size_t size, size_t most, Fn&& fn) {
    size_t first = 0;
    do {  // an empty call is one too: all ranks come
      const size_t count = std::min(most, size - first);
      WEFT_RETURN_IF_ERROR(fn(first, count));
      first += count;
    } while (first < size);
    return absl::OkStatus();
  }
  template <typename Fn>
  absl::Status InPieces(size_t size, Fn&& fn) {
    return InPieces(size, kPieceFloats, fn);
  }

  absl::Status CheckPeer(const char* call, int peer) {
    if (group_->fate->aborted()) return status();
    if (peer >= 0 && peer < size() && peer != rank_) return absl::OkStatus();
    return Fail(InvalidArgument("{}: rank {} of {}, from rank {}", call, peer, size(), rank_));
  }

  // A call of all ranks: brings `mine`, waits for the others, and checks that they mean the same.
  absl::Status Meet(Call call, size_t size_bytes, std::span<const std::byte> mine) {
    if (group_->fate->aborted()) return status();
    const uint64_t number = ++calls_;
    Slot& slot = group_->members[static_cast<size_t>(rank_)].slots[number % 2];
    slot.call = call;
    slot.size = size_bytes;
    slot.data.assign(mine.begin(), mine.end());
    group_->members[static_cast<size_t>(rank_)].arrived.store(number);
    group_->fate->Notify();
    const SteadyTime deadline = Deadline();
    for (int other = 0; other < size(); ++other) {
      const Member& member = group_->members[static_cast<size_t>(other)];
      WEFT_RETURN_IF_ERROR(Wait([&] { return member.arrived.load() >= number; },
                                kCallNames[static_cast<size_t>(call)], other, deadline));
      const Slot& theirs = member.slots[number % 2];
      if (theirs.call == call && theirs.size == size_bytes) continue;
      return Fail(Internal("call {}: rank {} calls {} of {} bytes, rank {} {} of {}", number, rank_,
                           kCallNames[static_cast<size_t>(call)], size_bytes, other,
                           kCallNames[static_cast<size_t>(theirs.call)], theirs.size));
    }
    return absl::OkStatus();
  }

  // What a rank brought to the call that has just met.
  std::span<const std::byte> Theirs(int other) const {
    return group_->members[static_cast<size_t>(other)].slots[calls_ % 2].data;
  }
  // What a rank gave, which may be nothing.
  void TakeFrom(int other, std::span<std::byte> out) const {
    std::ranges::copy(Theirs(other).first(out.size()), out.begin());
  }

  SteadyTime Deadline() const { return std::chrono::steady_clock::now() + group_->options.timeout; }

  template <typename Ready>
  absl::Status Wait(Ready&& ready, const char* call, int other, SteadyTime deadline) {
    const InProcessOptions& options = group_->options;
    switch (group_->fate->Wait(ready, options.spin, deadline)) {
      case Fate::Waited::kReady:
        return absl::OkStatus();
      case Fate::Waited::kAborted:
        return status();
      case Fate::Waited::kTimeout:
        break;
    }
    return Fail(Unavailable("rank {} has waited {} ms for rank {} in {}", rank_,
                            options.timeout.count(), other, call));
  }

  // Tears the group down; what it fell for is returned.
  absl::Status Fail(absl::Status reason) {
    group_->fate->Abort(std::move(reason));
    return status();
  }

  const std::shared_ptr<Group> group_;
  const int rank_;
  uint64_t calls_ = 0;  // of all ranks
};

}  // namespace

absl::Status InProcessOptions::Validate() const {
  if (size < 1 || size > kMaxRanks) {
    return InvalidArgument("size: expected 1 to {} ranks, found {}", kMaxRanks, size);
  }
  if (timeout.count() < 1) {
    return InvalidArgument("timeout: expected at least 1 ms, found {}", timeout.count());
  }
  return absl::OkStatus();
}

std::shared_ptr<Fate> MakeFate() { return std::make_shared<Fate>(); }

absl::StatusOr<std::vector<std::unique_ptr<Communicator>>> MakeInProcessGroup(
    const InProcessOptions& options) {
  WEFT_RETURN_IF_ERROR(options.Validate());
  const auto group = std::make_shared<Group>(options);
  std::vector<std::unique_ptr<Communicator>> ranks;
  for (int rank = 0; rank < options.size; ++rank) {
    ranks.push_back(std::make_unique<InProcess>(group, rank));
  }
  return ranks;
}

}  // namespace weft::comm
