#include "services/scheduler/worker_links.h"

#include <grpcpp/channel.h>

#include <algorithm>
#include <unordered_map>
#include <utility>

#include "libs/base/status.h"
#include "libs/rpc/channel.h"
#include "libs/rpc/session_dialer.h"
#include "libs/rpc/status.h"
#include "weft/v1/worker.grpc.pb.h"

namespace weft::scheduler {
namespace {

using WorkerSession = rpc::Session<v1::WorkFrame>;

// A worker that does not welcome is dialled again.
constexpr std::chrono::seconds kWelcomeTimeout{5};
constexpr std::chrono::seconds kTokenizerTimeout{60};
constexpr size_t kMaxTokenizerBytes = size_t{256} << 20;
// Frames waiting in a session before the dispatcher keeps the next ones to itself and merges them.
constexpr size_t kMaxQueuedFrames = 4;

absl::StatusOr<std::string> FetchTokenizer(v1::WorkerService::Stub& stub,
                                           const std::string& sha256) {
  grpc::ClientContext context;
  rpc::SetTimeout(context, kTokenizerTimeout);
  v1::GetTokenizerRequest request;
  request.set_sha256(sha256);
  const auto reader = stub.GetTokenizer(&context, request);
  std::string bytes;
  v1::TokenizerChunk chunk;
  while (reader->Read(&chunk)) {
    if (bytes.size() + chunk.data().size() > kMaxTokenizerBytes) {
      context.TryCancel();
      reader->Finish();
      return ResourceExhausted("the tokenizer is larger than {} bytes", kMaxTokenizerBytes);
    }
    bytes += chunk.data();
  }
  WEFT_RETURN_IF_ERROR(rpc::FromGrpcStatus(reader->Finish()));
  return bytes;
}

}  // namespace

// What handlers share. Outlives the links, because gRPC may still hold handlers.
struct WorkerLinks::Table {
  std::string scheduler_id;
  TokenizerStore* store = nullptr;
  WorkerEvents events;
  std::unique_ptr<ThreadPool> fetchers;

  mutable std::mutex mutex;
  std::unordered_map<uint64_t, std::shared_ptr<WorkerSession>> sessions;  // welcomed ones
  uint64_t next_link = 1;
  uint64_t last_epoch = 0;

  // Larger than any before, also those of a scheduler process of the same name before this one.
  uint64_t NextEpoch() {
    std::lock_guard lock(mutex);
    const auto now = static_cast<uint64_t>(UnixNanos(Clock::Real().Wall()));
    last_epoch = std::max(now, last_epoch + 1);
    return last_epoch;
  }
};

class WorkerLinks::Handler final : public rpc::SessionHandler<v1::StepFrame, v1::WorkFrame> {
 public:
  Handler(std::shared_ptr<Table> table, std::shared_ptr<v1::WorkerService::Stub> stub,
          std::string address, std::shared_ptr<std::atomic<bool>> open)
      : table_(std::move(table)),
        stub_(std::move(stub)),
        address_(std::move(address)),
        open_(std::move(open)) {}

  void OnOpen(std::shared_ptr<WorkerSession> session) override {
    session_ = std::move(session);
    epoch_ = table_->NextEpoch();
    v1::WorkFrame frame;
    frame.mutable_hello()->set_scheduler_id(table_->scheduler_id);
    frame.mutable_hello()->set_epoch(epoch_);
    session_->Send(std::move(frame));
    // A peer that accepts connections but never answers: a stopped process.
    alarm_.Set(std::chrono::system_clock::now() + kWelcomeTimeout,
               [session = std::weak_ptr<WorkerSession>(session_), welcomed = welcomed_](bool ok) {
                 if (!ok || welcomed->load()) return;
                 if (const auto s = session.lock()) {
                   s->Abort(DeadlineExceeded("no welcome within {} s", kWelcomeTimeout.count()));
                 }
               });
  }

  void OnFrame(v1::StepFrame& frame) override {
    if (link_ == 0) {
      if (!frame.has_welcome() || frame.welcome().epoch() != epoch_) {
        session_->Abort(FailedPrecondition("the first frame is not a welcome of this session"));
        return;
      }
      welcomed_->store(true);
      open_->store(true);
      Welcome(std::move(*frame.mutable_welcome()));
    }
    FetchMissing();
    table_->events.on_frame(link_, std::move(frame));
  }

  void OnClosed(const absl::Status& status) override {
    alarm_.Cancel();
    open_->store(false);
    if (link_ != 0) {
      {
        std::lock_guard lock(table_->mutex);
        table_->sessions.erase(link_);
      }
      table_->events.on_lost(link_, status);
    } else {
      table_->events.on_trouble(address_, status);
    }
    session_.reset();
  }

 private:
  void Welcome(v1::WorkerWelcome welcome) {
    {
      std::lock_guard lock(table_->mutex);
      link_ = table_->next_link++;
      table_->sessions[link_] = session_;
    }
    missing_.clear();
    for (const v1::ModelInfo& m : welcome.models()) missing_.push_back(m.tokenizer_sha256());
    table_->events.on_welcome(link_, std::move(welcome));
  }

  // Asked with every frame (a worker sends one a second): the session that fetches a tokenizer may
  // be lost before it has it, and then this one does.
  void FetchMissing() {
    std::erase_if(missing_, [this](const std::string& sha256) {
      if (table_->store->Find(sha256) != nullptr) return true;
      if (!table_->store->Claim(sha256)) return false;
      Fetch(sha256);
      return true;
    });
  }

  // The tokenizer is claimed.
  void Fetch(const std::string& sha256) {
    const bool queued = table_->fetchers->TrySubmit(
        [table = table_.get(), stub = stub_, address = address_, session = session_, sha256] {
          auto bytes = FetchTokenizer(*stub, sha256);
          auto loaded =
              bytes.ok() ? LoadedTokenizer::FromBytes(*std::move(bytes), sha256) : bytes.status();
          if (loaded.ok()) {
            table->store->Add(sha256, *std::move(loaded));
            table->events.on_tokenizer(sha256);
            return;
          }
          table->store->GiveUp(sha256);
          table->events.on_trouble(address, Annotate(loaded.status(), "tokenizer"));
          session->Abort(loaded.status());  // dialled again, which tries again
        });
    if (!queued) {
      table_->store->GiveUp(sha256);
      session_->Abort(ResourceExhausted("too many tokenizers are being fetched"));
    }
  }

  const std::shared_ptr<Table> table_;
  const std::shared_ptr<v1::WorkerService::Stub> stub_;
  const std::string address_;
  const std::shared_ptr<std::atomic<bool>> open_;
  const std::shared_ptr<std::atomic<bool>> welcomed_ = std::make_shared<std::atomic<bool>>(false);
  std::shared_ptr<WorkerSession> session_;
  std::vector<std::string> missing_;  // hashes of tokenizers that were not there yet
  grpc::Alarm alarm_;
  uint64_t epoch_ = 0;
  uint64_t link_ = 0;
};

class WorkerLinks::Peer {
 public:
  Peer(std::shared_ptr<grpc::Channel> channel, const std::shared_ptr<Table>& table,
       const std::string& address, const Config& config)
      : stub_(v1::WorkerService::NewStub(channel)),
        dialer_(Options(stub_, table, address, config, open_)) {
    dialer_.Start();
  }
  // A worker has welcomed, and its session goes on.
  bool open() const { return open_->load(); }

 private:
  using Dialer = rpc::SessionDialer<v1::StepFrame, v1::WorkFrame>;

  static Dialer::Options Options(const std::shared_ptr<v1::WorkerService::Stub>& stub,
                                 const std::shared_ptr<Table>& table, const std::string& address,
                                 const Config& config,
                                 const std::shared_ptr<std::atomic<bool>>& open) {
    Dialer::Options options;
    options.start_call = [stub](grpc::ClientContext* context, auto* reactor) {
      stub->async()->Session(context, reactor);
    };
    options.make_handler = [=] { return std::make_shared<Handler>(table, stub, address, open); };
    options.backoff.initial = config.reconnect_min;
    options.backoff.maximum = config.reconnect_max;
    return options;
  }

  const std::shared_ptr<v1::WorkerService::Stub> stub_;
  const std::shared_ptr<std::atomic<bool>> open_ = std::make_shared<std::atomic<bool>>(false);
  Dialer dialer_;
};

WorkerLinks::WorkerLinks(const Config& config, std::string scheduler_id, TokenizerStore& store,
                         WorkerEvents events, Resolver resolve)
    : config_(config), resolve_(std::move(resolve)), table_(std::make_shared<Table>()) {
  table_->scheduler_id = std::move(scheduler_id);
  table_->store = &store;
  table_->events = std::move(events);
  table_->fetchers = std::make_unique<ThreadPool>("tokenizers", 2, 64);
}

WorkerLinks::~WorkerLinks() { Stop(); }

absl::Status WorkerLinks::Start() {
  constexpr std::string_view kDns = "dns:///";
  for (const std::string& worker : config_.workers) {
    if (worker.rfind(kDns, 0) == 0) {
      names_.push_back(worker.substr(kDns.size()));
      if (names_.back().rfind(':') == std::string::npos) {
        return InvalidArgument("scheduler.workers: {} has no port", worker);
      }
    } else {
      WEFT_RETURN_IF_ERROR(AddPeer(worker));
    }
  }
  if (!names_.empty()) resolver_ = std::thread([this] { ResolveLoop(); });
  return absl::OkStatus();
}

absl::Status WorkerLinks::AddPeer(const std::string& target) {
  rpc::ChannelOptions options;
  options.target = target;
  options.max_message_bytes = uint64_t{32} << 20;
  options.max_reconnect = config_.reconnect_max;
  options.min_reconnect = config_.reconnect_min;
  if (target.rfind("unix:", 0) != 0) options.tls = config_.worker_tls;
  WEFT_ASSIGN_OR_RETURN(auto channel, rpc::MakeChannel(options));
  auto peer = std::make_unique<Peer>(std::move(channel), table_, target, config_);
  std::lock_guard lock(mutex_);
  peers_[target] = std::move(peer);
  return absl::OkStatus();
}

void WorkerLinks::ResolveLoop() {
  std::unique_lock lock(mutex_);
  while (!stopping_) {
    lock.unlock();
    Resolve();
    lock.lock();
    wake_.wait_for(lock, config_.dns_interval, [this] { return stopping_; });
  }
}

// New addresses are dialled. One that is gone from a name that still resolves is given up once its
// session is: a worker that drains leaves DNS before it ends.
void WorkerLinks::Resolve() {
  for (const std::string& name : names_) {
    const auto found = resolve_(name);
    if (!found.ok()) {
      table_->events.on_trouble("dns:///" + name, found.status());
      continue;
    }
    for (const std::string& target : *found) {
      {
        std::lock_guard lock(mutex_);
        if (stopping_ || peers_.contains(target)) continue;
        from_dns_[target] = name;
      }
      if (const absl::Status s = AddPeer(target); !s.ok()) table_->events.on_trouble(target, s);
    }
    std::vector<std::unique_ptr<Peer>> gone;
    {
      std::lock_guard lock(mutex_);
      for (auto it = from_dns_.begin(); it != from_dns_.end();) {
        const bool listed =
            it->second != name || std::binary_search(found->begin(), found->end(), it->first);
        const auto peer = peers_.find(it->first);
        if (listed || (peer != peers_.end() && peer->second->open())) {
          ++it;
          continue;
        }
        if (peer != peers_.end()) {
          gone.push_back(std::move(peer->second));
          peers_.erase(peer);
        }
        it = from_dns_.erase(it);
      }
    }
    gone.clear();  // stops the dialers, outside of the lock
  }
}

void WorkerLinks::Stop() {
  std::map<std::string, std::unique_ptr<Peer>> peers;
  {
    std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  wake_.notify_all();
  if (resolver_.joinable()) resolver_.join();
  {
    std::lock_guard lock(mutex_);
    peers.swap(peers_);
  }
  peers.clear();  // each dialer's destructor waits for its handler
  table_->fetchers.reset();
}

void WorkerLinks::Write(uint64_t link, v1::WorkFrame frame) {
  std::shared_ptr<WorkerSession> session;
  {
    std::lock_guard lock(table_->mutex);
    const auto it = table_->sessions.find(link);
    if (it == table_->sessions.end()) return;  // its loss is on the way
    session = it->second;
  }
  session->Send(std::move(frame));
}

void WorkerLinks::Break(uint64_t link, std::string_view why) {
  std::shared_ptr<WorkerSession> session;
  {
    std::lock_guard lock(table_->mutex);
    const auto it = table_->sessions.find(link);
    if (it == table_->sessions.end()) return;
    session = it->second;
  }
  session->Abort(Unavailable("{}", why));
}

bool WorkerLinks::Writable(uint64_t link) const {
  std::lock_guard lock(table_->mutex);
  const auto it = table_->sessions.find(link);
  return it == table_->sessions.end() || it->second->queued_frames() < kMaxQueuedFrames;
}

}  // namespace weft::scheduler
