// One TCP connection of the server: reads requests, runs handlers, writes answers. Private to
// libs/http: the only header with Asio types.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>
#include <chrono>
#include <list>
#include <memory>
#include <string>
#include <thread>
#include <unordered_set>

#include "libs/http/answer.h"
#include "libs/http/request_parser.h"
#include "libs/http/transport.h"

namespace weft::http {

class Connection;

// One thread with its event loop and its connections. Everything but `context` is touched only by
// that thread.
struct IoThread {
  boost::asio::io_context context{1};
  boost::asio::steady_timer sweep{context};
  std::unordered_set<Connection*> connections;
  std::list<Connection*> waiting;  // those without a whole head, the longest wait first
  std::thread thread;
  bool stopping = false;  // the sweep ends: its timer may have fired before it could be cancelled

  // Every 100 ms: ends the operations whose deadline has passed. One timer for all connections is
  // cheaper than arming one for every read and write.
  void Sweep();
  // Makes room for another connection: closes the one that has waited longest for a request.
  bool CloseOneThatWaits();
};

// All methods on the owning IoThread.
class Connection : public std::enable_shared_from_this<Connection> {
 public:
  Connection(boost::asio::ip::tcp::socket socket, IoThread& io, std::shared_ptr<ServerCore> core);
  ~Connection();

  // False: its address has as many connections as it may have.
  bool CountAddress();
  // Serves requests until the connection ends; keeps itself alive.
  void Start();
  void CheckDeadline(std::chrono::steady_clock::time_point now);
  void OnDrain();  // closes it if it is idle
  void OnStop();   // closes it
  void Evict();    // closes it while it waits for a request

 private:
  using Clock = std::chrono::steady_clock;
  class WaitWaker;
  enum class Next { kAgain, kClose };

  boost::asio::awaitable<void> Run();
  boost::asio::awaitable<Next> ServeOne();
  // Reads while the parser is in `state`. An error: the connection ended before, or
  // no_buffer_space.
  boost::asio::awaitable<boost::system::error_code> Feed(RequestParser& parser,
                                                         RequestParser::State state);
  boost::asio::awaitable<bool> Continue(const Request& request);  // 100
  boost::asio::awaitable<Next> Refuse(Request request, Response refusal, bool body_left);
  boost::asio::awaitable<Next> Refuse(Request request, int status, std::string_view code,
                                      std::string_view message, bool body_left);
  boost::asio::awaitable<Next> Answered(std::shared_ptr<Answer> answer, bool body_left);
  // Writes what comes after the first `done` bytes.
  boost::asio::awaitable<bool> WriteAll(Answer& answer, std::string bytes, size_t done);
  boost::asio::awaitable<void> Linger();

  std::optional<Response> Admit(Request& request, const Router::Match& match, size_t header_bytes);
  std::shared_ptr<Answer> NewAnswer(Request request, bool keep_alive);
  void BeginRequest();
  void EndRequest();  // legal twice
  void WatchPeer(std::weak_ptr<Answer> answer);
  void PollPeer(std::weak_ptr<Answer> answer);
  void PeerGone(const std::weak_ptr<Answer>& answer);
  void SetDeadline(std::chrono::milliseconds from_now);
  void NoDeadline() { deadline_ = Clock::time_point::max(); }
  void SetWaiting(bool waiting);  // for a request's whole head
  void CountBody(size_t bytes);   // towards what all connections hold

  Transport transport_;
  IoThread& io_;
  const std::shared_ptr<ServerCore> core_;
  std::string buffer_;              // bytes that came and belong to no request yet
  boost::asio::steady_timer wake_;  // cancelled when the answer has news
  std::shared_ptr<WaitWaker> waker_;
  boost::asio::steady_timer peer_poll_;
  Clock::time_point deadline_ = Clock::time_point::max();
  Clock::time_point request_started_;
  bool in_request_ = false;
  bool timed_out_ = false;
  std::list<Connection*>::iterator waiting_;  // io_.waiting.end(): it does not
  bool idle_ = true;
  size_t body_counted_ = 0;
  bool address_counted_ = false;
  std::atomic<uint32_t>* route_active_ = nullptr;
  bool stopping_ = false;
  bool watching_ = false;
  std::shared_ptr<Answer> current_;
  std::string remote_address_;
  uint16_t remote_port_ = 0;
};

}  // namespace weft::http
