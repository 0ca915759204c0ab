#include "libs/http/server.h"

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <future>
#include <mutex>
#include <nlohmann/json.hpp>

#include "libs/base/status.h"
#include "libs/http/connection.h"

namespace weft::http {
namespace {

namespace asio = boost::asio;
using boost::system::error_code;

class AsioServer final : public Server {
 public:
  AsioServer(ServerOptions options, std::shared_ptr<const Router> router, ServerHooks hooks)
      : core_(std::make_shared<ServerCore>()) {
    core_->options = std::move(options);
    core_->router = std::move(router);
    core_->hooks = std::move(hooks);
    for (size_t i = 0; i < core_->router->routes().size(); ++i) core_->route_active.emplace_back(0);
    for (int i = 0; i < core_->options.threads; ++i)
      threads_.push_back(std::make_unique<IoThread>());
  }
  ~AsioServer() override { Stop(); }

  absl::Status Listen() {
    const ServerOptions& options = core_->options;
    error_code error;
    const auto address =
        asio::ip::make_address(options.host == "localhost" ? "127.0.0.1" : options.host, error);
    if (error) return InvalidArgument("listen address '{}' is not an IP address", options.host);
    const asio::ip::tcp::endpoint endpoint(address, options.port);
    acceptor_ = std::make_unique<asio::ip::tcp::acceptor>(threads_[0]->context);
    acceptor_->open(endpoint.protocol(), error);
    if (!error) acceptor_->set_option(asio::socket_base::reuse_address(true), error);
    if (!error) acceptor_->bind(endpoint, error);
    if (!error) acceptor_->listen(1024, error);
    if (error)
      return Unavailable("cannot listen on {}:{}: {}", options.host, options.port, error.message());
    port_ = acceptor_->local_endpoint(error).port();
    return absl::OkStatus();
  }

  void Run() {
    asio::co_spawn(threads_[0]->context, Accept(), asio::detached);
    for (auto& io : threads_) {
      guards_.emplace_back(io->context.get_executor());
      io->Sweep();
      io->thread = std::thread([&io = *io] { io.context.run(); });
    }
  }

  uint16_t port() const override { return port_; }

  ServerStats stats() const override {
    return {.connections = core_->connections.load(),
            .streams = core_->streams.load(),
            .active_requests = core_->active_requests.load(),
            .buffered_bytes = core_->buffered_bytes.load(),
            .stalled_streams = core_->stalled.load(),
            .tls_failures = core_->tls_failures.load(),
            .evicted_connections = core_->evicted.load(),
            .refused_connections = refused_.load()};
  }

  bool Drain(std::chrono::milliseconds timeout) override {
    core_->draining = true;
    CloseAcceptor();
    OnEachThread([](IoThread& io) {
      for (Connection* connection : io.connections) connection->OnDrain();
    });
    const auto end = std::chrono::steady_clock::now() + timeout;
    while (core_->active_requests.load() > 0) {
      if (std::chrono::steady_clock::now() >= end) return false;
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
    return true;
  }

  void Stop() override {
    std::lock_guard lock(stop_mutex_);
    if (stopped_) return;
    stopped_ = true;
    core_->draining = true;
    CloseAcceptor();
    OnEachThread([](IoThread& io) {
      io.stopping = true;
      io.sweep.cancel();
      // Closing ends coroutines only later, on this thread, so the set does not change under us.
      for (Connection* connection : io.connections) connection->OnStop();
    });
    guards_.clear();
    for (auto& io : threads_) {
      if (io->thread.joinable()) io->thread.join();
    }
  }

 private:
  asio::awaitable<void> Accept() {
    size_t next = 0;
    while (acceptor_->is_open()) {
      error_code error;
      IoThread& io = *threads_[next];
      asio::ip::tcp::socket socket(io.context);
      co_await acceptor_->async_accept(socket, asio::redirect_error(asio::use_awaitable, error));
      if (error == asio::error::operation_aborted || !acceptor_->is_open()) co_return;
      if (error) {  // out of file descriptors, most likely: let some close
        asio::steady_timer pause(threads_[0]->context, std::chrono::milliseconds(50));
        co_await pause.async_wait(asio::redirect_error(asio::use_awaitable, error));
        continue;
      }
      const bool full = core_->connections.fetch_add(1) >= core_->options.max_connections;
      next = (next + 1) % threads_.size();
      auto shared = std::make_shared<asio::ip::tcp::socket>(std::move(socket));
      asio::post(io.context, [this, &io, shared, full] { Begin(io, *shared, full); });
    }
  }

  // On the thread of `io`.
  void Begin(IoThread& io, asio::ip::tcp::socket& socket, bool full) {
    if (full && core_->connections.load() > core_->options.max_connections) {
      if (!io.CloseOneThatWaits()) {
        core_->connections.fetch_sub(1);
        return Refuse(socket);
      }
      core_->evicted.fetch_add(1);
    }
    auto connection = std::make_shared<Connection>(std::move(socket), io, core_);
    if (core_->draining) return connection->OnStop();
    if (!connection->CountAddress()) {
      refused_.fetch_add(1);
      return connection->OnStop();
    }
    connection->Start();
  }

  void Refuse(asio::ip::tcp::socket& socket) {
    refused_.fetch_add(1);
    error_code ignored;
    if (core_->options.tls) {  // nothing can be said before the handshake
      socket.close(ignored);
      return;
    }
    const Response response =
        core_->hooks.error(503, "too_many_connections", "The server has too many connections.");
    const std::string text = fmt::format(
        "HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\nRetry-After: 1\r\n"
        "Content-Length: {}\r\nConnection: close\r\n\r\n{}",
        response.body.size(), response.body);
    socket.non_blocking(true, ignored);
    socket.write_some(asio::buffer(text), ignored);
    socket.shutdown(asio::ip::tcp::socket::shutdown_send, ignored);
  }

  void CloseAcceptor() {
    if (!acceptor_ || threads_[0]->thread.get_id() == std::thread::id()) return;
    std::promise<void> done;
    asio::post(threads_[0]->context, [&] {
      error_code ignored;
      acceptor_->close(ignored);
      done.set_value();
    });
    done.get_future().wait();
  }

  template <typename F>
  void OnEachThread(F function) {
    for (auto& io : threads_) {
      if (!io->thread.joinable()) continue;
      std::promise<void> done;
      asio::post(io->context, [&] {
        function(*io);
        done.set_value();
      });
      done.get_future().wait();
    }
  }

  const std::shared_ptr<ServerCore> core_;
  std::vector<std::unique_ptr<IoThread>> threads_;
  std::vector<asio::executor_work_guard<asio::io_context::executor_type>> guards_;
  std::unique_ptr<asio::ip::tcp::acceptor> acceptor_;
  uint16_t port_ = 0;
  std::atomic<size_t> refused_{0};
  std::mutex stop_mutex_;
  bool stopped_ = false;
};

}  // namespace

Response PlainJsonError(int status, std::string_view code, std::string_view message) {
  const nlohmann::json body = {{"error", {{"code", code}, {"message", message}}}};
  return Response::Json(status,
                        body.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace));
}

absl::Status ServerOptions::Validate() const {
  if (threads < 1 || threads > 256)
    return InvalidArgument("threads must be 1 to 256, not {}", threads);
  if (max_connections < 1) return InvalidArgument("max_connections must be at least 1");
  if (max_header_bytes < 1024 || max_header_bytes > (1 << 20)) {
    return InvalidArgument("max_header_bytes must be 1024 to 1048576, not {}", max_header_bytes);
  }
  for (const auto timeout : {header_timeout, body_timeout, idle_timeout, write_timeout}) {
    if (timeout.count() <= 0) return InvalidArgument("timeouts must be positive");
  }
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<Server>> Server::Start(const ServerOptions& options,
                                                      std::shared_ptr<const Router> router,
                                                      ServerHooks hooks) {
  WEFT_RETURN_IF_ERROR(options.Validate());
  auto server = std::make_unique<AsioServer>(options, std::move(router), std::move(hooks));
  WEFT_RETURN_IF_ERROR(server->Listen());
  server->Run();
  return absl::StatusOr<std::unique_ptr<Server>>(std::move(server));
}

}  // namespace weft::http
