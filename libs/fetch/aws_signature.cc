#include "libs/fetch/aws_signature.h"

#include <fmt/chrono.h>
#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <utility>

#include "libs/fetch/digest.h"

namespace weft::fetch {
namespace {

constexpr std::string_view kAlgorithm = "AWS4-HMAC-SHA256";

std::string Lower(std::string text) {
  std::transform(text.begin(), text.end(), text.begin(),
                 [](unsigned char c) { return std::tolower(c); });
  return text;
}

}  // namespace

std::string EncodePath(std::string_view path) {
  std::string out;
  for (const unsigned char c : path) {
    if (std::isalnum(c) != 0 || c == '-' || c == '.' || c == '_' || c == '~' || c == '/') {
      out += static_cast<char>(c);
    } else {
      out += fmt::format("%{:02X}", c);
    }
  }
  return out;
}

std::vector<std::string> SignS3Get(const S3Get& get, const AwsCredentials& credentials,
                                   std::chrono::system_clock::time_point now) {
  const std::tm utc = fmt::gmtime(std::chrono::system_clock::to_time_t(now));
  const std::string time = fmt::format("{:%Y%m%dT%H%M%SZ}", utc);
  const std::string day = time.substr(0, 8);
  const std::string nothing = Sha256Hex("");
  // In the order of their names, which is the canonical one.
  std::vector<std::pair<std::string, std::string>> headers = {
      {"host", get.host}, {"x-amz-content-sha256", nothing}, {"x-amz-date", time}};
  if (!credentials.session_token.empty()) {
    headers.emplace_back("x-amz-security-token", credentials.session_token);
  }
  std::string canonical = fmt::format("GET\n{}\n\n", get.path);
  std::string names;
  for (const auto& [name, value] : headers) {
    canonical += fmt::format("{}:{}\n", name, name == "host" ? Lower(value) : value);
    names += (names.empty() ? "" : ";") + name;
  }
  canonical += fmt::format("\n{}\n{}", names, nothing);

  const std::string scope = fmt::format("{}/{}/s3/aws4_request", day, get.region);
  std::string key = "AWS4" + credentials.secret_key;
  for (const std::string_view part : {std::string_view(day), std::string_view(get.region),
                                      std::string_view("s3"), std::string_view("aws4_request")}) {
    key = HmacSha256(key, part);
  }
  const std::string signature = Hex(HmacSha256(
      key, fmt::format("{}\n{}\n{}\n{}", kAlgorithm, time, scope, Sha256Hex(canonical))));

  std::vector<std::string> out = {
      fmt::format("Authorization: {} Credential={}/{},SignedHeaders={},Signature={}", kAlgorithm,
                  credentials.access_key, scope, names, signature)};
  for (const auto& [name, value] : headers) {
    if (name != "host") out.push_back(fmt::format("{}: {}", name, value));
  }
  return out;
}

}  // namespace weft::fetch
