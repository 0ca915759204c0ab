#include "services/gateway/scheduler_client.h"

#include <grpcpp/channel.h>

#include <algorithm>
#include <map>
#include <mutex>
#include <tuple>
#include <unordered_map>
#include <utility>

#include "libs/base/error_info.h"
#include "libs/base/status.h"
#include "libs/rpc/session_dialer.h"
#include "libs/rpc/status.h"
#include "services/gateway/unary_calls.h"
#include "weft/v1/scheduler.grpc.pb.h"

namespace weft::gateway {
namespace {

constexpr std::chrono::seconds kModelsInterval{1};

v1::Finished ErrorFinish(int code, std::string message) {
  v1::Finished finished;
  finished.set_reason(v1::FINISH_REASON_ERROR);
  finished.mutable_error()->set_code(code);
  finished.mutable_error()->set_message(std::move(message));
  if (code == static_cast<int>(absl::StatusCode::kUnavailable)) {
    finished.mutable_error()->mutable_retry_after()->set_seconds(1);
  }
  return finished;
}

struct Link;

struct Sequence {
  SchedulerClient::Ticket ticket = 0;
  std::shared_ptr<SequenceSink> sink;
  v1::Submit submit;

  // Guarded by the client's mutex.
  Link* link = nullptr;  // nullptr: waits for a scheduler
  uint32_t handle = 0;
  SteadyTime waiting_since{};
  int moves = 0;
  bool cancelled = false;

  // The log. Touched by the session that has the sequence, and by whoever moves it when that
  // session is over.
  bool accepted = false;
  std::vector<uint32_t> prompt_ids;
  std::vector<uint32_t> output_ids;
  uint64_t seed = 0;
  std::string model_version;
  uint64_t text_bytes = 0;
  uint32_t prompt_scored = 0;  // prompt tokens whose entry came
};
using SequencePtr = std::shared_ptr<Sequence>;

class Client;
using Dialer = rpc::SessionDialer<v1::DeltaFrame, v1::GatewayFrame>;

// One scheduler. Guarded by the client's mutex, except what is constant.
struct Link {
  std::string target;
  std::shared_ptr<grpc::Channel> channel;
  std::unique_ptr<v1::SchedulerService::Stub> stub;
  std::shared_ptr<rpc::Session<v1::GatewayFrame>> session;  // set while it is greeted and open
  bool draining = false;
  uint32_t next_handle = 1;
  std::unordered_map<uint32_t, SequencePtr> sequences;
  std::vector<v1::ModelInfo> models;
  bool listing = false;
  SteadyTime listed{};
  std::unique_ptr<Dialer> dialer;
};

class LinkHandler final : public rpc::SessionHandler<v1::DeltaFrame, v1::GatewayFrame> {
 public:
  LinkHandler(Client& client, Link& link) : client_(client), link_(link) {}
  void OnOpen(std::shared_ptr<rpc::Session<v1::GatewayFrame>> session) override;
  void OnFrame(v1::DeltaFrame& frame) override;
  void OnClosed(const absl::Status& status) override;

 private:
  Client& client_;
  Link& link_;
  std::shared_ptr<rpc::Session<v1::GatewayFrame>> session_;
  bool greeted_ = false;
};

class Client final : public SchedulerClient {
 public:
  Client(SchedulerClientOptions options, Clock& clock)
      : options_(std::move(options)), clock_(clock) {}

  ~Client() override {
    for (auto& link : links_) link->dialer->Stop();
    calls_.Stop();
  }

  absl::Status Start() {
    for (const rpc::ChannelOptions& channel : options_.schedulers) {
      auto link = std::make_unique<Link>();
      link->target = channel.target;
      WEFT_ASSIGN_OR_RETURN(link->channel, rpc::MakeChannel(channel));
      link->stub = v1::SchedulerService::NewStub(link->channel);
      Dialer::Options dial;
      dial.start_call = [stub = link->stub.get()](grpc::ClientContext* context, auto* reactor) {
        stub->async()->Session(context, reactor);
      };
      dial.make_handler = [this, raw = link.get()] {
        return std::make_shared<LinkHandler>(*this, *raw);
      };
      dial.backoff.initial = channel.min_reconnect;
      dial.backoff.maximum = std::chrono::seconds(2);
      link->dialer = std::make_unique<Dialer>(std::move(dial));
      links_.push_back(std::move(link));
    }
    for (auto& link : links_) link->dialer->Start();
    return absl::OkStatus();
  }

  Ticket Submit(v1::Submit submit, std::shared_ptr<SequenceSink> sink) override {
    auto sequence = std::make_shared<Sequence>();
    sequence->sink = std::move(sink);
    sequence->submit = std::move(submit);
    std::lock_guard lock(mutex_);
    sequence->ticket = ++last_ticket_;
    tickets_[sequence->ticket] = sequence;
    sequence->waiting_since = clock_.Now();
    PlaceLocked(sequence, nullptr);
    return sequence->ticket;
  }

  void Cancel(Ticket ticket) override {
    std::lock_guard lock(mutex_);
    const auto it = tickets_.find(ticket);
    if (it == tickets_.end()) return;
    const SequencePtr sequence = it->second;
    tickets_.erase(it);
    sequence->cancelled = true;
    if (Link* link = sequence->link; link != nullptr) {
      link->sequences.erase(sequence->handle);
      if (link->session) {
        v1::GatewayFrame frame;
        frame.add_cancels(sequence->handle);
        link->session->Send(std::move(frame));
      }
    } else {
      std::erase(waiting_, sequence);
    }
  }

  void Tokenize(v1::TokenizeRequest request,
                std::function<void(absl::StatusOr<v1::TokenizeResponse>)> done) override {
    const auto best = [this]() -> v1::SchedulerService::Stub* {
      std::lock_guard lock(mutex_);
      const Link* link = BestLocked(nullptr);
      return link != nullptr ? link->stub.get() : nullptr;
    };
    v1::SchedulerService::Stub* const first = best();
    if (first == nullptr) {
      done(WithRetryAfter(Unavailable("no scheduler is reachable"), std::chrono::seconds(1)));
      return;
    }
    calls_.Start<v1::TokenizeRequest, v1::TokenizeResponse>(
        std::move(request), std::chrono::seconds(30),
        [best, first](auto* context, const auto* in, auto* out, auto callback) {
          // A second attempt goes to whichever scheduler is connected then.
          v1::SchedulerService::Stub* const now = best();
          (now != nullptr ? now : first)->async()->Tokenize(context, in, out, std::move(callback));
        },
        [done = std::move(done)](absl::StatusOr<v1::TokenizeResponse> response) {
          // The scheduler's own refusals say when to come back; what gRPC says of a connection
          // names addresses, which are not for clients.
          if (absl::IsUnavailable(response.status()) && !RetryAfterOf(response.status())) {
            response = WithRetryAfter(
                Unavailable("No scheduler is reachable at the moment. Please try again."),
                std::chrono::seconds(1));
          }
          done(std::move(response));
        });
  }

  std::vector<v1::ModelInfo> Models() const override {
    std::lock_guard lock(mutex_);
    std::map<std::string, v1::ModelInfo> all;
    for (const auto& link : links_) {
      if (!link->session) continue;
      for (const v1::ModelInfo& model : link->models) all.emplace(model.id(), model);
    }
    std::vector<v1::ModelInfo> models;
    models.reserve(all.size());
    for (auto& [id, model] : all) models.push_back(std::move(model));
    return models;
  }

  bool connected() const override {
    std::lock_guard lock(mutex_);
    return std::any_of(links_.begin(), links_.end(),
                       [](const auto& l) { return l->session != nullptr; });
  }

  Stats stats() const override {
    std::lock_guard lock(mutex_);
    Stats stats = stats_;
    stats.open = tickets_.size();
    for (const auto& link : links_) stats.links_open += link->session != nullptr ? 1 : 0;
    return stats;
  }

  void Tick() override {
    const SteadyTime now = clock_.Now();
    std::vector<SequencePtr> expired;
    std::vector<Link*> to_list;
    {
      std::lock_guard lock(mutex_);
      for (const SequencePtr& sequence : waiting_) {
        if (now - sequence->waiting_since >= options_.wait) expired.push_back(sequence);
      }
      for (const SequencePtr& sequence : expired) {
        std::erase(waiting_, sequence);
        tickets_.erase(sequence->ticket);
        if (sequence->accepted) ++stats_.lost;
      }
      for (auto& link : links_) {
        if (!link->session || link->listing || now - link->listed < kModelsInterval) continue;
        link->listing = true;
        to_list.push_back(link.get());
      }
    }
    for (const SequencePtr& sequence : expired) {
      sequence->sink->OnFinished(
          ErrorFinish(static_cast<int>(absl::StatusCode::kUnavailable),
                      "No scheduler is reachable at the moment. Please try again."));
    }
    for (Link* link : to_list) List(*link);
  }

  // --- sessions

  void OnGreeted(Link& link, std::shared_ptr<rpc::Session<v1::GatewayFrame>> session) {
    std::lock_guard lock(mutex_);
    link.session = std::move(session);
    link.draining = false;
    link.next_handle = 1;
    link.listed = {};
    const std::vector<SequencePtr> waiting = std::exchange(waiting_, {});
    for (const SequencePtr& sequence : waiting) PlaceLocked(sequence, nullptr);
  }

  void OnFrame(Link& link, v1::DeltaFrame& frame) {
    if (frame.draining()) {
      std::lock_guard lock(mutex_);
      link.draining = true;
    }
    for (const v1::Accepted& accepted : frame.accepted()) {
      const SequencePtr sequence = Find(link, accepted.handle());
      if (!sequence) continue;
      // Until the first token another version may take it over.
      if (sequence->output_ids.empty()) sequence->model_version = accepted.model_version();
      if (sequence->accepted) continue;
      sequence->accepted = true;
      sequence->prompt_ids.assign(accepted.prompt_ids().begin(), accepted.prompt_ids().end());
      sequence->seed = accepted.seed();
      sequence->sink->OnAccepted(accepted);
    }
    for (const v1::PromptLogprobs& entry : frame.prompt_logprobs()) {
      DispatchPromptLogprobs(link, entry);
    }
    DispatchDeltas(link, frame);
    for (v1::Finished& finished : *frame.mutable_finished()) OnFinished(link, finished);
  }

  void OnClosed(Link& link) {
    std::vector<SequencePtr> given_up;
    {
      std::lock_guard lock(mutex_);
      link.session = nullptr;
      link.models.clear();
      const auto sequences = std::exchange(link.sequences, {});
      for (const auto& [handle, sequence] : sequences) {
        sequence->link = nullptr;
        sequence->waiting_since = clock_.Now();
        if (++sequence->moves > options_.max_moves) {
          // Present whenever a scheduler was lost: it may well be the cause.
          tickets_.erase(sequence->ticket);
          given_up.push_back(sequence);
          ++stats_.lost;
          continue;
        }
        if (sequence->accepted) ++stats_.resumed;
        PlaceLocked(sequence, &link);
      }
    }
    for (const SequencePtr& sequence : given_up) {
      sequence->sink->OnFinished(ErrorFinish(static_cast<int>(absl::StatusCode::kInternal),
                                             "the request was present at too many losses"));
    }
  }

 private:
  SequencePtr Find(Link& link, uint32_t handle) {
    std::lock_guard lock(mutex_);
    const auto it = link.sequences.find(handle);
    return it == link.sequences.end() ? nullptr : it->second;
  }

  // The open scheduler with the fewest sequences, another one than `avoid` if there is any.
  Link* BestLocked(const Link* avoid) {
    Link* best = nullptr;
    const auto better = [&](const Link& a, const Link& b) {
      const auto rank = [&](const Link& l) {
        return std::tuple(l.draining, &l == avoid, l.sequences.size());
      };
      return rank(a) < rank(b);
    };
    for (const auto& link : links_) {
      if (!link->session) continue;
      if (best == nullptr || better(*link, *best)) best = link.get();
    }
    return best;
  }

  // One that drains would refuse it: better to wait for its return, or for another one.
  void PlaceLocked(const SequencePtr& sequence, const Link* avoid) {
    Link* link = BestLocked(avoid);
    if (link == nullptr || link->draining) {
      waiting_.push_back(sequence);
      return;
    }
    sequence->link = link;
    sequence->handle = link->next_handle++;
    link->sequences[sequence->handle] = sequence;
    v1::GatewayFrame frame;
    v1::Submit& submit = *frame.add_submits();
    submit = sequence->submit;
    submit.set_handle(sequence->handle);
    if (sequence->accepted) {
      v1::Resume& resume = *submit.mutable_resume();
      resume.mutable_prompt_ids()->Assign(sequence->prompt_ids.begin(), sequence->prompt_ids.end());
      resume.mutable_output_ids()->Assign(sequence->output_ids.begin(), sequence->output_ids.end());
      resume.set_seed(sequence->seed);
      resume.set_model_version(sequence->model_version);
      resume.set_text_bytes_delivered(sequence->text_bytes);
    }
    // A session that refuses is closing: OnClosed comes and places the sequence again.
    link->session->Send(std::move(frame));
  }

  void DispatchPromptLogprobs(Link& link, const v1::PromptLogprobs& frame) {
    SequencePtr sequence;
    {
      std::lock_guard lock(mutex_);
      const auto it = link.sequences.find(frame.handle());
      if (it == link.sequences.end()) return;
      sequence = it->second;
    }
    if (frame.first_position() > sequence->prompt_scored) {
      return Break(link, "log probabilities of the prompt are missing between two deltas");
    }
    // After a move the new scheduler begins again.
    std::vector<const v1::TokenLogprob*> entries;
    for (int i = static_cast<int>(sequence->prompt_scored - frame.first_position());
         i < frame.tokens_size(); ++i) {
      entries.push_back(&frame.tokens(i));
    }
    sequence->prompt_scored += static_cast<uint32_t>(entries.size());
    if (!entries.empty()) sequence->sink->OnPromptLogprobs(entries);
  }

  void DispatchDeltas(Link& link, const v1::DeltaFrame& frame) {
    const int count = frame.handles_size();
    if (frame.token_counts_size() != count || frame.first_indexes_size() != count ||
        frame.byte_offsets_size() != count || frame.text_lengths_size() != count) {
      return Break(link, "its delta arrays have different lengths");
    }
    std::vector<SequencePtr> sequences(static_cast<size_t>(count));
    {
      std::lock_guard lock(mutex_);
      for (int i = 0; i < count; ++i) {
        const auto it = link.sequences.find(frame.handles(i));
        if (it != link.sequences.end()) sequences[static_cast<size_t>(i)] = it->second;
      }
    }
    std::unordered_map<uint32_t, const v1::SequenceLogprobs*> logprobs;
    for (const v1::SequenceLogprobs& entry : frame.logprobs()) logprobs[entry.handle()] = &entry;
    const std::string_view text = frame.text();
    size_t text_at = 0;
    size_t token_at = 0;
    for (int i = 0; i < count; ++i) {
      const size_t length = frame.text_lengths(i);
      const size_t tokens = frame.token_counts(i);
      if (length > text.size() - text_at ||
          tokens > static_cast<size_t>(frame.token_ids_size()) - token_at) {
        return Break(link, "its deltas do not fit its text");
      }
      const std::string_view piece = text.substr(text_at, length);
      const std::span<const uint32_t> ids(frame.token_ids().data() + token_at, tokens);
      text_at += length;
      token_at += tokens;
      const SequencePtr& sequence = sequences[static_cast<size_t>(i)];
      if (!sequence) continue;
      const auto found = logprobs.find(frame.handles(i));
      Deliver(link, *sequence, piece, frame.byte_offsets(i), ids, frame.first_indexes(i),
              found == logprobs.end() ? nullptr : found->second);
    }
  }

  // After a move the new scheduler may begin a little earlier than what was delivered.
  void Deliver(Link& link, Sequence& sequence, std::string_view text, uint64_t offset,
               std::span<const uint32_t> ids, size_t first_index,
               const v1::SequenceLogprobs* logprobs) {
    const size_t known = sequence.output_ids.size();
    if ((!ids.empty() && first_index > known) || (!text.empty() && offset > sequence.text_bytes)) {
      return Break(link, "output is missing between two of its deltas");
    }
    const size_t old_ids = ids.empty() ? 0 : std::min(known - first_index, ids.size());
    const size_t old_bytes =
        text.empty() ? 0 : std::min<size_t>(sequence.text_bytes - offset, text.size());
    std::vector<const v1::TokenLogprob*> entries;
    if (logprobs != nullptr && logprobs->tokens_size() == static_cast<int>(ids.size())) {
      for (size_t i = old_ids; i < ids.size(); ++i)
        entries.push_back(&logprobs->tokens(static_cast<int>(i)));
    }
    Delta delta;
    delta.text = text.substr(old_bytes);
    delta.token_ids = ids.subspan(old_ids);
    delta.logprobs = entries;
    sequence.output_ids.insert(sequence.output_ids.end(), delta.token_ids.begin(),
                               delta.token_ids.end());
    sequence.text_bytes += delta.text.size();
    if (!delta.text.empty() || !delta.token_ids.empty()) sequence.sink->OnDelta(delta);
  }

  void OnFinished(Link& link, v1::Finished& finished) {
    SequencePtr sequence;
    {
      std::lock_guard lock(mutex_);
      const auto it = link.sequences.find(finished.handle());
      if (it == link.sequences.end()) return;
      sequence = it->second;
      link.sequences.erase(it);
      sequence->link = nullptr;
      // A scheduler that goes away says UNAVAILABLE: another one may go on.
      const bool elsewhere =
          finished.reason() == v1::FINISH_REASON_ERROR &&
          finished.error().code() == static_cast<int>(absl::StatusCode::kUnavailable) &&
          sequence->moves < options_.max_moves &&
          (link.draining || std::any_of(links_.begin(), links_.end(), [&](const auto& other) {
             return other.get() != &link && other->session && !other->draining;
           }));
      if (elsewhere) {
        ++sequence->moves;
        sequence->waiting_since = clock_.Now();
        PlaceLocked(sequence, &link);
        return;
      }
      tickets_.erase(sequence->ticket);
    }
    sequence->sink->OnFinished(finished);
  }

  // What a scheduler sent cannot be trusted: the session ends, its sequences go on elsewhere.
  void Break(Link& link, std::string_view why) {
    std::shared_ptr<rpc::Session<v1::GatewayFrame>> session;
    {
      std::lock_guard lock(mutex_);
      session = link.session;
    }
    if (session) session->Abort(Internal("scheduler {} broke the protocol: {}", link.target, why));
  }

  void List(Link& link) {
    calls_.Start<v1::ListModelsRequest, v1::ListModelsResponse>(
        {}, std::chrono::seconds(10),
        [stub = link.stub.get()](auto* context, const auto* in, auto* out, auto callback) {
          stub->async()->ListModels(context, in, out, std::move(callback));
        },
        [this, &link](absl::StatusOr<v1::ListModelsResponse> response) {
          std::lock_guard lock(mutex_);
          link.listing = false;
          link.listed = clock_.Now();
          if (response.ok())
            link.models.assign(response->models().begin(), response->models().end());
        });
  }

  friend class LinkHandler;
  const SchedulerClientOptions options_;
  Clock& clock_;
  mutable std::mutex mutex_;
  std::vector<std::unique_ptr<Link>> links_;  // constant after Start
  Ticket last_ticket_ = 0;
  std::unordered_map<Ticket, SequencePtr> tickets_;
  std::vector<SequencePtr> waiting_;
  Stats stats_;
  UnaryCalls calls_;
};

void LinkHandler::OnOpen(std::shared_ptr<rpc::Session<v1::GatewayFrame>> session) {
  session_ = std::move(session);
  v1::GatewayFrame frame;
  frame.mutable_hello()->set_gateway_id(client_.options_.gateway_id);
  session_->Send(std::move(frame));
}

void LinkHandler::OnFrame(v1::DeltaFrame& frame) {
  // Exactly the first frame greets. A second greeting would give out handles anew.
  if (frame.has_hello_ack() == greeted_) {
    session_->Abort(Internal("scheduler {} broke the protocol: {}", link_.target,
                             greeted_ ? "it greets again" : "its first frame greets not"));
    return;
  }
  if (!std::exchange(greeted_, true)) client_.OnGreeted(link_, session_);
  client_.OnFrame(link_, frame);
}

void LinkHandler::OnClosed(const absl::Status&) { client_.OnClosed(link_); }

}  // namespace

absl::StatusOr<std::unique_ptr<SchedulerClient>> SchedulerClient::Create(
    const SchedulerClientOptions& options, Clock& clock) {
  auto client = std::make_unique<Client>(options, clock);
  WEFT_RETURN_IF_ERROR(client->Start());
  return std::unique_ptr<SchedulerClient>(std::move(client));
}

}  // namespace weft::gateway
