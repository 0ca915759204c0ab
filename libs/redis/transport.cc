#include "libs/redis/transport.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <future>
#include <thread>
#include <utility>
#include <vector>

#include "libs/base/status.h"

namespace weft::redis {
namespace {

struct Address {
  sockaddr_storage bytes{};
  socklen_t size = 0;
};

std::string ErrnoText(int error) { return std::generic_category().message(error); }

std::string TlsErrorText() {
  const unsigned long error = ERR_get_error();
  ERR_clear_error();
  if (error == 0) return "the connection broke";
  std::array<char, 256> text{};
  ERR_error_string_n(error, text.data(), text.size());
  return text.data();
}

absl::Status WaitFor(int fd, short events, SteadyTime deadline, const char* what) {
  while (true) {
    const auto left =
        std::chrono::ceil<std::chrono::milliseconds>(deadline - std::chrono::steady_clock::now());
    if (left.count() <= 0) return DeadlineExceeded("no time is left to {}", what);
    pollfd entry{fd, events, 0};
    const int ready = poll(&entry, 1, static_cast<int>(std::min<int64_t>(left.count(), 60'000)));
    if (ready > 0) return absl::OkStatus();
    if (ready < 0 && errno != EINTR) return Unavailable("poll: {}", ErrnoText(errno));
  }
}

absl::StatusOr<std::vector<Address>> LookUp(const std::string& host, uint16_t port, bool numeric) {
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_NUMERICSERV | (numeric ? AI_NUMERICHOST : 0);
  addrinfo* found = nullptr;
  const int error = getaddrinfo(host.c_str(), std::to_string(port).c_str(), &hints, &found);
  if (error != 0) return Unavailable("{}: {}", host, gai_strerror(error));
  std::vector<Address> out;
  for (const addrinfo* one = found; one != nullptr; one = one->ai_next) {
    Address address;
    address.size = static_cast<socklen_t>(one->ai_addrlen);
    std::memcpy(&address.bytes, one->ai_addr, one->ai_addrlen);
    out.push_back(address);
  }
  freeaddrinfo(found);
  return out;
}

// The C library's look-up has no deadline of ours: it runs beside us, and is left when it is late.
absl::StatusOr<std::vector<Address>> Resolve(const Endpoint& endpoint, SteadyTime deadline) {
  if (!endpoint.unix_path.empty()) {
    sockaddr_un local{};
    local.sun_family = AF_UNIX;
    if (endpoint.unix_path.size() >= sizeof(local.sun_path)) {
      return InvalidArgument("the socket's path has more than {} bytes",
                             sizeof(local.sun_path) - 1);
    }
    std::memcpy(local.sun_path, endpoint.unix_path.data(), endpoint.unix_path.size());
    Address address;
    address.size = sizeof(local);
    std::memcpy(&address.bytes, &local, sizeof(local));
    return std::vector<Address>{address};
  }
  if (auto numeric = LookUp(endpoint.host, endpoint.port, true); numeric.ok()) return numeric;
  auto answer = std::make_shared<std::promise<absl::StatusOr<std::vector<Address>>>>();
  auto future = answer->get_future();
  std::thread([answer, host = endpoint.host, port = endpoint.port] {
    answer->set_value(LookUp(host, port, false));
  }).detach();
  if (future.wait_until(deadline) != std::future_status::ready) {
    return DeadlineExceeded("the name {} was not resolved in time", endpoint.host);
  }
  return future.get();
}

class Socket {
 public:
  explicit Socket(int fd) : fd_(fd) {}
  ~Socket() {
    if (fd_ >= 0) close(fd_);
  }
  Socket(Socket&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  Socket& operator=(Socket&&) = delete;

  static absl::StatusOr<Socket> Connect(const Address& address, SteadyTime deadline) {
    const int family = address.bytes.ss_family;
    Socket out(socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
    if (out.fd_ < 0) return Unavailable("socket: {}", ErrnoText(errno));
    if (family != AF_UNIX) {
      const int on = 1;
      setsockopt(out.fd_, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
      setsockopt(out.fd_, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
    }
    if (connect(out.fd_, reinterpret_cast<const sockaddr*>(&address.bytes), address.size) == 0) {
      return out;
    }
    if (errno != EINPROGRESS) return Unavailable("connect: {}", ErrnoText(errno));
    WEFT_RETURN_IF_ERROR(WaitFor(out.fd_, POLLOUT, deadline, "connect"));
    int error = 0;
    socklen_t size = sizeof(error);
    getsockopt(out.fd_, SOL_SOCKET, SO_ERROR, &error, &size);
    if (error != 0) return Unavailable("connect: {}", ErrnoText(error));
    return out;
  }

  absl::Status Write(std::string_view bytes, SteadyTime deadline) {
    while (!bytes.empty()) {
      const ssize_t sent = send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
      if (sent >= 0) {
        bytes.remove_prefix(static_cast<size_t>(sent));
      } else if (errno == EAGAIN) {
        WEFT_RETURN_IF_ERROR(WaitFor(fd_, POLLOUT, deadline, "send"));
      } else if (errno != EINTR) {
        return Unavailable("send: {}", ErrnoText(errno));
      }
    }
    return absl::OkStatus();
  }

  absl::StatusOr<size_t> Read(std::span<char> into, SteadyTime deadline) {
    while (true) {
      const ssize_t got = recv(fd_, into.data(), into.size(), 0);
      if (got > 0) return static_cast<size_t>(got);
      if (got == 0) return Unavailable("the server closed the connection");
      if (errno == EAGAIN) {
        WEFT_RETURN_IF_ERROR(WaitFor(fd_, POLLIN, deadline, "wait for the answer"));
      } else if (errno != EINTR) {
        return Unavailable("recv: {}", ErrnoText(errno));
      }
    }
  }

  bool Readable() const {
    pollfd entry{fd_, POLLIN, 0};
    return poll(&entry, 1, 0) != 0;
  }
  void Shut() { shutdown(fd_, SHUT_RDWR); }

 private:
  int fd_;
};

class PlainTransport final : public Transport {
 public:
  explicit PlainTransport(Socket socket) : socket_(std::move(socket)) {}
  absl::Status Write(std::string_view bytes, SteadyTime deadline) override {
    return socket_.Write(bytes, deadline);
  }
  absl::StatusOr<size_t> Read(std::span<char> into, SteadyTime deadline) override {
    return socket_.Read(into, deadline);
  }
  bool Stale() const override { return socket_.Readable(); }
  void Shut() override { socket_.Shut(); }

 private:
  Socket socket_;
};

// OpenSSL works on memory and the socket is ours: deadlines hold, and no write raises SIGPIPE.
class TlsTransport final : public Transport {
 public:
  TlsTransport(Socket socket, SSL_CTX* context)
      : socket_(std::move(socket)),
        ssl_(SSL_new(context), &SSL_free),
        in_(BIO_new(BIO_s_mem())),
        out_(BIO_new(BIO_s_mem())) {
    WEFT_CHECK(ssl_ != nullptr && in_ != nullptr && out_ != nullptr);
    SSL_set_bio(ssl_.get(), in_, out_);  // which frees them
  }

  absl::Status Handshake(const std::string& name, SteadyTime deadline) {
    std::array<uint8_t, 16> bytes{};
    const bool address = inet_pton(AF_INET, name.c_str(), bytes.data()) == 1 ||
                         inet_pton(AF_INET6, name.c_str(), bytes.data()) == 1;
    if (address) {
      X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl_.get()), name.c_str());
    } else {
      SSL_set_tlsext_host_name(ssl_.get(), name.c_str());
      SSL_set1_host(ssl_.get(), name.c_str());
    }
    const absl::Status status =
        Run([this] { return SSL_connect(ssl_.get()); }, deadline, "TLS handshake").status();
    if (const long verdict = SSL_get_verify_result(ssl_.get()); verdict != X509_V_OK) {
      return PermissionDenied("the server's certificate is not good: {}",
                              X509_verify_cert_error_string(verdict));
    }
    return status;
  }

  absl::Status Write(std::string_view bytes, SteadyTime deadline) override {
    while (!bytes.empty()) {
      const int size = static_cast<int>(std::min<size_t>(bytes.size(), 1 << 20));
      WEFT_ASSIGN_OR_RETURN(
          const int sent,
          Run([&] { return SSL_write(ssl_.get(), bytes.data(), size); }, deadline, "TLS write"));
      bytes.remove_prefix(static_cast<size_t>(sent));
    }
    return absl::OkStatus();
  }

  absl::StatusOr<size_t> Read(std::span<char> into, SteadyTime deadline) override {
    const int size = static_cast<int>(std::min<size_t>(into.size(), 1 << 20));
    WEFT_ASSIGN_OR_RETURN(
        const int got,
        Run([&] { return SSL_read(ssl_.get(), into.data(), size); }, deadline, "TLS read"));
    return static_cast<size_t>(got);
  }

  // Session tickets come unasked after the handshake, so bytes are not the sign: they are looked
  // at.
  bool Stale() const override {
    if (!socket_.Readable()) return false;
    std::array<char, 1> one{};
    auto* self = const_cast<TlsTransport*>(this);
    const auto got = self->Read(one, std::chrono::steady_clock::now());
    return got.ok() || got.status().code() != absl::StatusCode::kDeadlineExceeded;
  }
  void Shut() override { socket_.Shut(); }

 private:
  template <typename Operation>
  absl::StatusOr<int> Run(const Operation& operation, SteadyTime deadline, const char* what) {
    std::array<char, 16384> buffer;
    while (true) {
      ERR_clear_error();
      const int result = operation();
      const int error = result > 0 ? SSL_ERROR_NONE : SSL_get_error(ssl_.get(), result);
      for (int size = 0; (size = BIO_read(out_, buffer.data(), buffer.size())) > 0;) {
        WEFT_RETURN_IF_ERROR(socket_.Write({buffer.data(), static_cast<size_t>(size)}, deadline));
      }
      if (result > 0) return result;
      if (error == SSL_ERROR_ZERO_RETURN) return Unavailable("the server closed the connection");
      if (error != SSL_ERROR_WANT_READ) return Unavailable("{}: {}", what, TlsErrorText());
      WEFT_ASSIGN_OR_RETURN(const size_t got, socket_.Read(buffer, deadline));
      BIO_write(in_, buffer.data(), static_cast<int>(got));
    }
  }

  Socket socket_;
  const std::unique_ptr<SSL, decltype(&SSL_free)> ssl_;
  BIO* const in_;   // what came from the socket
  BIO* const out_;  // what goes to it
};

}  // namespace

absl::StatusOr<std::shared_ptr<SSL_CTX>> MakeTlsContext(const Options& options) {
  if (!options.endpoint.tls) return std::shared_ptr<SSL_CTX>();
  std::shared_ptr<SSL_CTX> context(SSL_CTX_new(TLS_client_method()), &SSL_CTX_free);
  WEFT_CHECK(context != nullptr);
  SSL_CTX_set_min_proto_version(context.get(), TLS1_2_VERSION);
  SSL_CTX_set_verify(context.get(), SSL_VERIFY_PEER, nullptr);
  const TlsFiles& files = options.tls;
  if (files.ca_file.empty()) {
    SSL_CTX_set_default_verify_paths(context.get());
  } else if (SSL_CTX_load_verify_locations(context.get(), files.ca_file.c_str(), nullptr) != 1) {
    return InvalidArgument("tls.ca_file: '{}': {}", files.ca_file, TlsErrorText());
  }
  if (files.certificate_file.empty()) return context;
  if (SSL_CTX_use_certificate_chain_file(context.get(), files.certificate_file.c_str()) != 1) {
    return InvalidArgument("tls.certificate_file: '{}': {}", files.certificate_file,
                           TlsErrorText());
  }
  if (SSL_CTX_use_PrivateKey_file(context.get(), files.key_file.c_str(), SSL_FILETYPE_PEM) != 1 ||
      SSL_CTX_check_private_key(context.get()) != 1) {
    return InvalidArgument("tls.key_file: '{}': {}", files.key_file, TlsErrorText());
  }
  return context;
}

absl::StatusOr<std::unique_ptr<Transport>> Transport::Connect(const Options& options,
                                                              const std::shared_ptr<SSL_CTX>& tls,
                                                              SteadyTime deadline) {
  WEFT_ASSIGN_OR_RETURN(const std::vector<Address> addresses, Resolve(options.endpoint, deadline));
  absl::Status last = Unavailable("{} has no address", options.endpoint.host);
  for (const Address& address : addresses) {
    auto socket = Socket::Connect(address, deadline);
    if (!socket.ok()) {
      last = socket.status();
      continue;
    }
    if (tls == nullptr) {
      return std::unique_ptr<Transport>(std::make_unique<PlainTransport>(*std::move(socket)));
    }
    auto secured = std::make_unique<TlsTransport>(*std::move(socket), tls.get());
    last = secured->Handshake(
        options.tls.server_name.empty() ? options.endpoint.host : options.tls.server_name,
        deadline);
    if (last.ok()) return std::unique_ptr<Transport>(std::move(secured));
  }
  return last;
}

}  // namespace weft::redis
