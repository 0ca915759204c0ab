#include "services/worker/rendezvous.h"

#include <grpcpp/grpcpp.h>

#include <algorithm>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <random>
#include <thread>

#include "libs/base/status.h"
#include "libs/config/binder.h"
#include "libs/rpc/channel.h"
#include "libs/rpc/server.h"
#include "libs/rpc/status.h"
#include "weft/v1/rendezvous.grpc.pb.h"

namespace weft::worker {
namespace {

using namespace std::chrono_literals;
using std::chrono::steady_clock;

constexpr auto kPoll = 100ms;
constexpr size_t kLeastToken = 16;
constexpr size_t kMostSettings = 4096;
constexpr int kMostAddresses = 8;

bool IsLocal(const std::string& address) { return address.starts_with("unix:"); }

// Takes as long for a wrong token as for the right one.
bool SameToken(const std::string& a, const std::string& b) {
  unsigned char differs = a.size() == b.size() ? 0 : 1;
  for (size_t i = 0; i < b.size(); ++i) {
    differs |= static_cast<unsigned char>(b[i] ^ (a.empty() ? 0 : a[i % a.size()]));
  }
  return differs == 0;
}

std::string RandomId() {
  std::random_device random;
  return fmt::format("{:08x}{:08x}{:08x}{:08x}", random(), random(), random(), random());
}

// Who has come. Thread safe.
class Gathering {
 public:
  using Answer = std::function<void(const absl::StatusOr<v1::JoinResponse>&)>;

  Gathering(std::string token, const Attendance& leader)
      : token_(std::move(token)),
        settings_(leader.settings),
        places_(static_cast<size_t>(leader.ranks)) {
    response_.set_group_id(RandomId());
    for (int i = 0; i < leader.ranks; ++i) response_.add_ranks();
    Sit(0, leader.addresses, nullptr);
  }

  // The answer comes now (an error) or when all have come. `who` gives the place back.
  void Join(const v1::JoinRequest& request, const void* who, Answer answer) {
    absl::Status status = Check(request);
    if (!status.ok()) return answer(status);
    std::unique_lock lock(mutex_);
    Place& place = places_[request.rank()];
    if (place.taken) {
      lock.unlock();
      return answer(MakeStatus(absl::StatusCode::kAlreadyExists,
                               fmt::format("rank {} has come already", request.rank())));
    }
    Sit(request.rank(), {request.addresses().begin(), request.addresses().end()}, who);
    place.answer = std::move(answer);
    if (!Complete()) return;
    std::vector<Answer> answers;
    for (Place& one : places_) {
      if (one.answer) answers.push_back(std::exchange(one.answer, nullptr));
    }
    lock.unlock();
    for (const Answer& one : answers) one(response_);
    changed_.notify_all();
  }

  void Leave(const void* who) {
    std::unique_lock lock(mutex_);
    if (Complete()) return;
    for (Place& place : places_) {
      if (!place.taken || place.who != who || !place.answer) continue;
      const Answer answer = std::exchange(place.answer, nullptr);
      place.taken = false;
      lock.unlock();
      return answer(MakeStatus(absl::StatusCode::kCancelled, "the rank went away"));
    }
  }

  // Until all have come; false when the time is over or `stopped`.
  bool Wait(steady_clock::time_point deadline, const std::function<bool()>& stopped) {
    std::unique_lock lock(mutex_);
    while (!Complete()) {
      if (steady_clock::now() >= deadline) return false;
      lock.unlock();
      const bool stop = stopped();
      lock.lock();
      if (stop) return false;
      changed_.wait_for(lock, kPoll, [this] { return Complete(); });
    }
    return true;
  }

  std::string Missing() const {
    std::lock_guard lock(mutex_);
    std::vector<size_t> ranks;
    for (size_t i = 0; i < places_.size(); ++i) {
      if (!places_[i].taken) ranks.push_back(i);
    }
    return fmt::format("{}", fmt::join(ranks, ", "));
  }
  const v1::JoinResponse& response() const { return response_; }

 private:
  struct Place {
    bool taken = false;
    const void* who = nullptr;
    Answer answer;
  };

  absl::Status Check(const v1::JoinRequest& request) const {
    if (!SameToken(request.token(), token_)) {
      return MakeStatus(absl::StatusCode::kUnauthenticated, "token: it is another one");
    }
    if (request.rank() == 0 || request.rank() >= places_.size() ||
        request.ranks() != places_.size()) {
      return InvalidArgument("rank: {} of {} comes to a worker of {} ranks, whose first is here",
                             request.rank(), request.ranks(), places_.size());
    }
    if (request.settings() != settings_) {
      return FailedPrecondition("settings: rank {} has '{}', rank 0 '{}'", request.rank(),
                                request.settings().substr(0, kMostSettings), settings_);
    }
    if (request.addresses_size() != response_.ranks(0).addresses_size()) {
      return InvalidArgument("addresses: expected {}, found {}",
                             response_.ranks(0).addresses_size(), request.addresses_size());
    }
    return absl::OkStatus();
  }
  // With the mutex.
  void Sit(uint32_t rank, const std::vector<std::string>& addresses, const void* who) {
    v1::RankAddresses& mine = *response_.mutable_ranks(static_cast<int>(rank));
    mine.clear_addresses();
    for (const std::string& address : addresses) mine.add_addresses(address);
    places_[rank].taken = true;
    places_[rank].who = who;
  }
  bool Complete() const {
    return std::all_of(places_.begin(), places_.end(), [](const Place& p) { return p.taken; });
  }

  const std::string token_;
  const std::string settings_;
  mutable std::mutex mutex_;  // guards what follows
  v1::JoinResponse response_;
  std::vector<Place> places_;
  std::condition_variable changed_;
};

class JoinReactor final : public grpc::ServerUnaryReactor {
 public:
  JoinReactor(Gathering& gathering, const v1::JoinRequest& request, v1::JoinResponse* response)
      : gathering_(gathering) {
    gathering_.Join(request, this, [this, response](const absl::StatusOr<v1::JoinResponse>& all) {
      if (all.ok()) *response = *all;
      Finish(rpc::ToGrpcStatus(all.status()));
    });
  }
  void OnCancel() override { gathering_.Leave(this); }
  void OnDone() override { delete this; }

 private:
  Gathering& gathering_;
};

class RendezvousService final : public v1::RendezvousService::CallbackService {
 public:
  explicit RendezvousService(Gathering& gathering) : gathering_(gathering) {}
  grpc::ServerUnaryReactor* Join(grpc::CallbackServerContext*, const v1::JoinRequest* request,
                                 v1::JoinResponse* response) override {
    return new JoinReactor(gathering_, *request, response);
  }

 private:
  Gathering& gathering_;
};

Meeting FromWire(const v1::JoinResponse& response) {
  Meeting meeting;
  meeting.group_id = response.group_id();
  for (const v1::RankAddresses& rank : response.ranks()) {
    meeting.addresses.emplace_back(rank.addresses().begin(), rank.addresses().end());
  }
  return meeting;
}

absl::Status Stopped() { return MakeStatus(absl::StatusCode::kCancelled, "stopped"); }

absl::StatusOr<Meeting> Serve(const RendezvousOptions& options, const Attendance& own,
                              const std::function<bool()>& stopped) {
  const auto deadline = steady_clock::now() + options.timeout;
  Gathering gathering(options.token, own);
  RendezvousService service(gathering);
  rpc::ServerOptions listen;
  listen.listen = {options.address};
  listen.tls = options.server_tls;
  WEFT_ASSIGN_OR_RETURN(
      const auto server,
      rpc::Server::Start(listen, {{&service, v1::RendezvousService::service_full_name()}}));
  server->SetServing(true);
  if (!gathering.Wait(deadline, stopped)) {
    if (stopped()) return Stopped();
    return Unavailable("rank 0 has waited {} ms for rank {}", options.timeout.count(),
                       gathering.Missing());
  }
  // The answers are on their way.
  server->Drain(2s);
  return FromWire(gathering.response());
}

// One call; the status is gRPC's own where nobody answered.
absl::Status Ask(v1::RendezvousService::Stub& stub, const v1::JoinRequest& request,
                 steady_clock::time_point deadline, const std::function<bool()>& stopped,
                 v1::JoinResponse* response) {
  grpc::ClientContext context;
  rpc::SetTimeout(context, deadline - steady_clock::now());
  std::mutex mutex;
  std::condition_variable changed;
  bool done = false;
  grpc::Status status;
  stub.async()->Join(&context, &request, response, [&](grpc::Status now) {
    std::lock_guard lock(mutex);
    status = std::move(now);
    done = true;
    changed.notify_all();
  });
  std::unique_lock lock(mutex);
  while (!changed.wait_for(lock, kPoll, [&] { return done; })) {
    lock.unlock();
    if (stopped()) context.TryCancel();
    lock.lock();
  }
  return rpc::FromGrpcStatus(status);
}

absl::StatusOr<Meeting> Come(const RendezvousOptions& options, const Attendance& own,
                             const std::function<bool()>& stopped) {
  const auto deadline = steady_clock::now() + options.timeout;
  rpc::ChannelOptions to;
  to.target = options.address;
  to.tls = options.client_tls;
  to.max_reconnect = 1s;
  WEFT_ASSIGN_OR_RETURN(const auto channel, rpc::MakeChannel(to));
  const auto stub = v1::RendezvousService::NewStub(channel);
  v1::JoinRequest request;
  request.set_rank(static_cast<uint32_t>(own.rank));
  request.set_ranks(static_cast<uint32_t>(own.ranks));
  request.set_token(options.token);
  request.set_settings(own.settings);
  for (const std::string& address : own.addresses) request.add_addresses(address);
  while (true) {
    v1::JoinResponse response;
    const absl::Status status = Ask(*stub, request, deadline, stopped, &response);
    if (stopped()) return Stopped();
    if (status.ok()) {
      Meeting meeting = FromWire(response);
      const size_t ranks = meeting.addresses.size();
      if (ranks != static_cast<size_t>(own.ranks)) {
        return Internal("rank 0 speaks of {} ranks, expected {}", ranks, own.ranks);
      }
      return meeting;
    }
    const bool again =
        absl::IsUnavailable(status) || absl::IsAlreadyExists(status) || absl::IsCancelled(status);
    if (!again || steady_clock::now() + kPoll >= deadline) {
      return absl::IsDeadlineExceeded(status) || again
                 ? Unavailable("rank {} has waited {} ms for all ranks at {}: {}", own.rank,
                               options.timeout.count(), options.address, Message(status))
                 : Annotate(status, fmt::format("rank 0 at {}", options.address));
    }
    std::this_thread::sleep_for(kPoll);
  }
}

}  // namespace

absl::Status RendezvousOptions::Validate() const {
  if (address.empty()) return InvalidArgument("address: where do the ranks meet?");
  if (!IsLocal(address) && address.rfind(':') == std::string::npos) {
    return InvalidArgument("address: '{}' is neither host:port nor unix:path", address);
  }
  if (!IsLocal(address) && token.size() < kLeastToken) {
    return InvalidArgument("token: expected {} characters at least, found {}", kLeastToken,
                           token.size());
  }
  WEFT_RETURN_IF_ERROR(Annotate(server_tls.Validate(true), "tls"));
  return Annotate(client_tls.Validate(false), "client_tls");
}

void Bind(config::Binder& b, RendezvousOptions& o) {
  b.Text("address", &o.address,
         "where rank 0 serves and the others find it: host:port, or unix:/path on one machine", 0,
         255);
  b.Secret("token", &o.token, "what all ranks must say; 16 characters at least, but at unix:/path");
  b.Text("host", &o.host,
         "numeric address where other ranks reach this one; empty: that from which it reaches "
         "rank 0",
         0, 64);
  b.Duration("timeout", &o.timeout, 1s, 24h, "how long a rank that is ready waits for the others");
  b.Section("tls", "TLS of rank 0 while it serves.",
            [&](config::Binder& t) { rpc::BindServerTls(t, o.server_tls); });
  b.Section("client_tls", "TLS towards rank 0.",
            [&](config::Binder& t) { rpc::BindClientTls(t, o.client_tls); });
}

absl::StatusOr<Meeting> Meet(const RendezvousOptions& options, const Attendance& own,
                             const std::function<bool()>& stopped) {
  WEFT_RETURN_IF_ERROR(options.Validate());
  if (own.ranks < 1 || own.rank < 0 || own.rank >= own.ranks ||
      own.addresses.size() > static_cast<size_t>(kMostAddresses)) {
    return InvalidArgument("rank {} of {} with {} addresses", own.rank, own.ranks,
                           own.addresses.size());
  }
  return own.rank == 0 ? Serve(options, own, stopped) : Come(options, own, stopped);
}

}  // namespace weft::worker
