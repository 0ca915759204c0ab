#include "libs/comm/socket_group.h"

#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdint>
#include <cstring>
#include <mutex>
#include <utility>

#include "libs/base/status.h"
#include "libs/comm/in_process.h"
#include "libs/comm/peer_socket.h"

namespace weft::comm {
namespace {

enum class Call : uint32_t { kHello, kAllReduce, kAllGather, kBroadcast, kBarrier, kMessage };
constexpr std::array<const char*, 6> kCallNames = {"joining",   "AllReduceSum", "AllGather",
                                                   "Broadcast", "Barrier",      "Recv"};

// Before the data of a call. Ranks run on machines of one kind: little-endian, IEEE floats.
struct Head {
  uint32_t magic = 0;
  Call call = Call::kHello;
  uint64_t number = 0;  // of the call in the group, of the message between the two
  uint64_t bytes = 0;
};
constexpr uint32_t kMagic = 0x54464557;  // "WEFT"
constexpr size_t kMaxGroupId = 256;
// How long one who calls may take to say who it is.
constexpr std::chrono::milliseconds kGreeting{2'000};

template <typename T>
std::span<const std::byte> BytesOf(const T& value) {
  return std::as_bytes(std::span(&value, 1));
}

class SocketGroup final : public Communicator {
 public:
  explicit SocketGroup(const SocketOptions& options)
      : options_(options), wake_(eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)) {
    peers_.resize(options.addresses.size());
    theirs_.resize(options.addresses.size());
    sent_.resize(options.addresses.size());
    taken_.resize(options.addresses.size());
  }

  absl::Status Join();

  int rank() const override { return options_.rank; }
  int size() const override { return static_cast<int>(options_.addresses.size()); }

  absl::Status AllReduceSum(std::span<float> data) override {
    WEFT_RETURN_IF_ERROR(Exchange(Call::kAllReduce, std::as_bytes(data), data.size_bytes()));
    mine_.assign(data.begin(), data.end());
    for (int other = 0; other < size(); ++other) {
      const auto* from =
          other == rank() ? mine_.data() : reinterpret_cast<const float*>(Theirs(other).data());
      for (size_t i = 0; i < data.size(); ++i) data[i] = other == 0 ? from[i] : data[i] + from[i];
    }
    return absl::OkStatus();
  }

  absl::Status AllGather(std::span<const float> mine, std::span<float> all) override {
    if (!all.empty() && all.size() != mine.size() * static_cast<size_t>(size())) {
      return Fail(InvalidArgument("AllGather: expected room for {} times {} elements, found {}",
                                  size(), mine.size(), all.size()));
    }
    WEFT_RETURN_IF_ERROR(Exchange(Call::kAllGather, std::as_bytes(mine), mine.size_bytes()));
    if (all.empty()) return absl::OkStatus();
    for (int other = 0; other < size(); ++other) {
      const auto to = std::as_writable_bytes(
          all.subspan(static_cast<size_t>(other) * mine.size(), mine.size()));
      std::ranges::copy(other == rank() ? std::as_bytes(mine) : Theirs(other), to.begin());
    }
    return absl::OkStatus();
  }

  absl::Status Broadcast(std::span<std::byte> data, int root) override {
    if (root < 0 || root >= size()) {
      return Fail(InvalidArgument("Broadcast: rank {} of {}", root, size()));
    }
    const std::span<const std::byte> mine =
        rank() == root ? std::span<const std::byte>(data) : std::span<const std::byte>();
    WEFT_RETURN_IF_ERROR(Exchange(Call::kBroadcast, mine, data.size(), root));
    if (rank() != root) std::ranges::copy(Theirs(root), data.begin());
    return absl::OkStatus();
  }

  absl::Status Barrier() override { return Exchange(Call::kBarrier, {}, 0); }

  absl::Status Send(std::span<const float> data, int to) override {
    WEFT_RETURN_IF_ERROR(CheckPeer("Send", to));
    const Head head{kMagic, Call::kMessage, ++sent_[static_cast<size_t>(to)], data.size_bytes()};
    Traffic traffic{&peers_[static_cast<size_t>(to)], BytesOf(head), std::as_bytes(data), {}};
    return Done(Move({&traffic, 1}), "Send", to);
  }

  absl::Status Recv(std::span<float> data, int from) override {
    WEFT_RETURN_IF_ERROR(CheckPeer("Recv", from));
    const uint64_t number = ++taken_[static_cast<size_t>(from)];
    Head head;
    Traffic traffic{
        &peers_[static_cast<size_t>(from)], {}, {}, std::as_writable_bytes(std::span(&head, 1))};
    WEFT_RETURN_IF_ERROR(Done(Move({&traffic, 1}), "Recv", from));
    WEFT_RETURN_IF_ERROR(
        CheckHead(head, {kMagic, Call::kMessage, number, data.size_bytes()}, from));
    traffic.in = std::as_writable_bytes(data);
    return Done(Move({&traffic, 1}), "Recv", from);
  }

  void Abort(const absl::Status& reason) override {
    (void)End(MakeStatus(absl::StatusCode::kAborted,
                         fmt::format("rank {} gave up: {}", rank(), Message(reason))));
  }

  absl::Status status() const override {
    std::lock_guard lock(mutex_);
    return reason_;
  }

 private:
  // A call of all ranks: each gives every other `mine` (in a broadcast only the root does), which
  // then lies in Theirs(). `size_bytes` is what all must agree on.
  absl::Status Exchange(Call call, std::span<const std::byte> mine, size_t size_bytes,
                        int root = -1) {
    if (absl::Status ended = status(); !ended.ok()) return ended;
    const char* name = kCallNames[static_cast<size_t>(call)];
    const Head head{kMagic, call, ++calls_, size_bytes};
    std::vector<Head> heads(peers_.size());
    std::vector<Traffic> traffic;
    std::vector<int> whose;
    for (int other = 0; other < size(); ++other) {
      if (other == rank()) continue;
      traffic.push_back({&peers_[static_cast<size_t>(other)], BytesOf(head), mine,
                         std::as_writable_bytes(std::span(&heads[static_cast<size_t>(other)], 1))});
      whose.push_back(other);
    }
    // Heads first, so that nobody takes more bytes than it has room for.
    size_t at = 0;
    const Deadline deadline = std::chrono::steady_clock::now() + options_.timeout;
    std::vector<Traffic> opening = traffic;
    for (Traffic& one : opening) one.body = {};
    absl::Status moved = comm::Move(opening, wake_, deadline, &at);
    if (!moved.ok()) return Done({moved, at}, name, whose[at]);
    for (size_t i = 0; i < traffic.size(); ++i) {
      const auto other = static_cast<size_t>(whose[i]);
      WEFT_RETURN_IF_ERROR(CheckHead(heads[other], head, whose[i]));
      traffic[i].head = {};
      const bool comes = size_bytes > 0 && (root < 0 || whose[i] == root);
      theirs_[other].resize(comes ? size_bytes : 0);
      traffic[i].in = theirs_[other];
    }
    moved = comm::Move(traffic, wake_, deadline, &at);
    return Done({moved, at}, name, traffic.empty() ? 0 : whose[at]);
  }

  struct Moved {
    absl::Status status;
    size_t at = 0;
  };
  Moved Move(std::span<Traffic> traffic) {
    Moved moved;
    moved.status =
        comm::Move(traffic, wake_, std::chrono::steady_clock::now() + options_.timeout, &moved.at);
    return moved;
  }

  // What became of moving bytes to and from `other`.
  absl::Status Done(const Moved& moved, const char* call, int other) {
    switch (moved.status.code()) {
      case absl::StatusCode::kOk:
        return absl::OkStatus();
      case absl::StatusCode::kCancelled:
        return status();
      case absl::StatusCode::kDeadlineExceeded:
        return Fail(Unavailable("rank {} has waited {} ms for rank {} in {}", rank(),
                                options_.timeout.count(), other, call));
      default:
        return Fail(Unavailable("rank {} is lost to rank {} in {}: {}", other, rank(), call,
                                Message(moved.status)));
    }
  }

  absl::Status CheckHead(const Head& found, const Head& expected, int other) {
    if (found.magic == expected.magic && found.call == expected.call &&
        found.number == expected.number && found.bytes == expected.bytes) {
      return absl::OkStatus();
    }
    const auto name = [](Call call) {
      const auto index = static_cast<size_t>(call);
      return index < kCallNames.size() ? kCallNames[index] : "?";
    };
    return Fail(Internal("call {}: rank {} calls {} of {} bytes, rank {} {} of {}", expected.number,
                         rank(), name(expected.call), expected.bytes, other, name(found.call),
                         found.bytes));
  }

  absl::Status CheckPeer(const char* call, int peer) {
    if (absl::Status ended = status(); !ended.ok()) return ended;
    if (peer >= 0 && peer < size() && peer != rank()) return absl::OkStatus();
    return Fail(InvalidArgument("{}: rank {} of {}, from rank {}", call, peer, size(), rank()));
  }

  std::span<const std::byte> Theirs(int other) const { return theirs_[static_cast<size_t>(other)]; }

  absl::Status Fail(absl::Status reason) { return End(std::move(reason)); }

  // The first reason stays. Connections end, by which the other processes notice.
  absl::Status End(absl::Status reason) {
    std::lock_guard lock(mutex_);
    if (!reason_.ok()) return reason_;
    reason_ = std::move(reason);
    const uint64_t one = 1;
    [[maybe_unused]] const ssize_t written = write(wake_.fd(), &one, sizeof(one));
    for (const Socket& peer : peers_) {
      if (peer) shutdown(peer.fd(), SHUT_RDWR);
    }
    return reason_;
  }

  const SocketOptions options_;
  const Socket wake_;  // readable once the group has ended
  std::vector<Socket> peers_;
  std::vector<std::vector<std::byte>> theirs_;
  std::vector<float> mine_;
  std::vector<uint64_t> sent_, taken_;  // messages, by rank
  uint64_t calls_ = 0;
  mutable std::mutex mutex_;  // guards reason_
  absl::Status reason_;
};

// Ranks connect to those before them and are called by those after them. Either side says which
// group it means and who it is.
absl::Status SocketGroup::Join() {
  if (!wake_) return Internal("eventfd: {}", std::strerror(errno));
  const Deadline deadline = std::chrono::steady_clock::now() + options_.timeout;
  std::string hello = options_.group_id;
  hello.resize(kMaxGroupId);
  const auto greet = [&](const Socket& socket, Deadline until, int* who) -> absl::Status {
    const Head mine{kMagic, Call::kHello, static_cast<uint64_t>(rank()),
                    static_cast<uint64_t>(size())};
    Head theirs;
    std::string said(kMaxGroupId, '\0');
    size_t at = 0;
    std::string message(reinterpret_cast<const char*>(&mine), sizeof(mine));
    message += hello;
    std::string answer(sizeof(Head) + kMaxGroupId, '\0');
    Traffic traffic{
        &socket, std::as_bytes(std::span(message)), {}, std::as_writable_bytes(std::span(answer))};
    WEFT_RETURN_IF_ERROR(comm::Move({&traffic, 1}, wake_, until, &at));
    std::memcpy(&theirs, answer.data(), sizeof(theirs));
    if (theirs.magic != kMagic || theirs.call != Call::kHello ||
        theirs.bytes != static_cast<uint64_t>(size()) || answer.substr(sizeof(Head)) != hello ||
        theirs.number >= static_cast<uint64_t>(size())) {
      return FailedPrecondition("it is of another group");
    }
    *who = static_cast<int>(theirs.number);
    return absl::OkStatus();
  };
  Socket own;
  if (options_.listener == nullptr) {
    WEFT_ASSIGN_OR_RETURN(own, ListenAt(options_.addresses[static_cast<size_t>(rank())], size()));
  }
  const Socket& listener = options_.listener == nullptr ? own : *options_.listener;
  for (int other = 0; other < rank(); ++other) {
    const std::string& address = options_.addresses[static_cast<size_t>(other)];
    WEFT_ASSIGN_OR_RETURN(Socket socket, ConnectTo(address, deadline));
    int who = -1;
    WEFT_RETURN_IF_ERROR(
        Annotate(greet(socket, deadline, &who), fmt::format("rank {} at {}", other, address)));
    if (who != other) {
      return FailedPrecondition("rank {} listens at {}, expected rank {}", who, address, other);
    }
    peers_[static_cast<size_t>(other)] = std::move(socket);
  }
  for (int missing = size() - 1 - rank(); missing > 0;) {
    WEFT_ASSIGN_OR_RETURN(Socket socket, AcceptFrom(listener, deadline));
    if (!socket) {
      return Unavailable("rank {} has waited {} ms for {} ranks to join", rank(),
                         options_.timeout.count(), missing);
    }
    // A stranger, or a rank of an earlier group: it is turned away, the others still come.
    const Deadline soon = std::chrono::steady_clock::now() + kGreeting;
    int who = -1;
    if (!greet(socket, std::min(deadline, soon), &who).ok() || who <= rank() ||
        peers_[static_cast<size_t>(who)])
      continue;
    peers_[static_cast<size_t>(who)] = std::move(socket);
    --missing;
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status SocketOptions::Validate() const {
  if (addresses.empty() || addresses.size() > static_cast<size_t>(kMaxRanks)) {
    return InvalidArgument("addresses: expected 1 to {}, found {}", kMaxRanks, addresses.size());
  }
  if (rank < 0 || rank >= static_cast<int>(addresses.size())) {
    return InvalidArgument("rank: {} is not in [0, {})", rank, addresses.size());
  }
  for (size_t i = 0; i < addresses.size(); ++i) {
    WEFT_RETURN_IF_ERROR(Annotate(CheckAddress(addresses[i]), fmt::format("addresses[{}]", i)));
  }
  if (group_id.empty() || group_id.size() > kMaxGroupId) {
    return InvalidArgument("group_id: expected 1 to {} bytes, found {}", kMaxGroupId,
                           group_id.size());
  }
  if (timeout.count() < 1) return InvalidArgument("timeout: {} ms", timeout.count());
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<Communicator>> JoinSocketGroup(const SocketOptions& options) {
  WEFT_RETURN_IF_ERROR(options.Validate());
  auto group = std::make_unique<SocketGroup>(options);
  WEFT_RETURN_IF_ERROR(group->Join());
  return std::unique_ptr<Communicator>(std::move(group));
}

}  // namespace weft::comm
