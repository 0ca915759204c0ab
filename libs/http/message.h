// HTTP requests and responses as plain values. No Beast or Asio type shows here.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace weft::http {

// Header fields in their order of arrival. Names compare without case (RFC 9110 section 5.1).
class Headers {
 public:
  struct Field {
    std::string name;
    std::string value;
  };

  void Add(std::string_view name, std::string_view value);
  // Replaces every field of that name.
  void Set(std::string_view name, std::string_view value);
  // The first field of that name, or nullptr.
  const std::string* Find(std::string_view name) const;
  // The first field of that name, or an empty string.
  std::string_view Get(std::string_view name) const;
  bool Has(std::string_view name) const { return Find(name) != nullptr; }
  // True if the comma-separated list in `name` (all fields of that name) has the token.
  bool HasToken(std::string_view name, std::string_view token) const;
  size_t Count(std::string_view name) const;

  const std::vector<Field>& fields() const { return fields_; }
  void Reserve(size_t n) { fields_.reserve(n); }

 private:
  std::vector<Field> fields_;
};

// ASCII only, as header names and tokens are.
bool EqualsIgnoreCase(std::string_view a, std::string_view b);

// Decodes %XX. nullopt when an escape is broken or gives a NUL. '+' stays as it is.
std::optional<std::string> PercentDecode(std::string_view text);

// What TLS knows of a connection.
struct TlsPeer {
  std::string version;      // "TLSv1.3"
  std::string alpn;         // "h2", "http/1.1"; empty: the client named none
  std::string server_name;  // that the client asked for
  // Of a client certificate that ca_file's authorities signed; empty without one.
  std::string client_subject;             // RFC 2253: "CN=billing,O=Example"
  std::vector<std::string> client_names;  // "DNS:billing.example", "URI:spiffe://…", "email:…"
};

struct Request {
  std::string method;  // "POST"
  std::string target;  // as sent: "/v1/models?limit=3"
  std::string path;    // target up to '?', not decoded
  std::string query;   // after '?'
  int version = 11;    // 10, 11 or 20
  Headers headers;
  std::string body;
  std::string remote_address;  // "127.0.0.1", without the port
  uint16_t remote_port = 0;
  std::shared_ptr<const TlsPeer> tls;  // nullptr: plain text
  std::string_view route;              // the matched pattern, "/v1/models/{id}"; set by the router
  std::vector<std::pair<std::string_view, std::string>> params;  // decoded path parameters
  // What the header filter attached (an authenticated principal, say).
  std::shared_ptr<void> context;

  // A path parameter, or empty.
  std::string_view Param(std::string_view name) const;
  // The decoded value of a query parameter; nullopt when it is absent or badly escaped.
  std::optional<std::string> QueryParam(std::string_view name) const;
};

struct Response {
  int status = 200;
  Headers headers;
  std::string body;

  static Response Json(int status, std::string body);
  static Response Text(int status, std::string body);
};

// "Not Found" for 404; "Unknown" for a number without a name.
std::string_view ReasonPhrase(int status);

}  // namespace weft::http
