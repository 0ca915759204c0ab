// A TCP client that sends exactly the bytes it is told to, for tests of servers.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace weft::test {

class RawHttp {
 public:
  // Connects to 127.0.0.1, from the address `source` ("127.0.0.2") if one is given; throws when it
  // cannot.
  explicit RawHttp(uint16_t port, const char* source = nullptr);
  virtual ~RawHttp();
  RawHttp(const RawHttp&) = delete;
  RawHttp& operator=(const RawHttp&) = delete;

  bool Send(std::string_view bytes);  // all of them; false when the peer is gone
  void ShutdownSend();
  void Close();
  void Reset();  // RST
  void SetReceiveBuffer(int bytes);

  // Reads until `until` is found, the peer closes, or the time is over; what was read so far.
  std::string ReadUntil(std::string_view until,
                        std::chrono::milliseconds wait = std::chrono::seconds(10));
  std::string ReadToEnd(std::chrono::milliseconds wait = std::chrono::seconds(10));

  struct Answer {
    int status = 0;
    std::string head;
    std::string body;  // chunks joined
    bool complete = false;
    std::string Header(std::string_view name) const;
  };
  // One whole answer by Content-Length, chunks or end of connection.
  Answer ReadAnswer(std::chrono::milliseconds wait = std::chrono::seconds(10));
  bool PeerClosed(std::chrono::milliseconds wait);

 protected:
  int fd() const { return fd_; }
  virtual ssize_t Write(std::string_view bytes);
  virtual ssize_t Read(char* bytes, size_t size);  // only when there is something, or the end
  virtual bool Pending() const { return false; }   // Read has something although the socket has not

 private:
  bool Fill(std::chrono::steady_clock::time_point end);
  int fd_ = -1;
  bool eof_ = false;
  std::string buffer_;
};

// One request on a connection of its own.
RawHttp::Answer HttpRequest(uint16_t port, std::string_view method, std::string_view target,
                            std::string_view body = {}, std::string_view headers = {},
                            const char* source = nullptr);

}  // namespace weft::test
