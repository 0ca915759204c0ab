// AWS Signature Version 4 for reading objects of S3 and what is compatible with it.
// https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html
#pragma once

#include <chrono>
#include <string>
#include <string_view>
#include <vector>

namespace weft::fetch {

struct AwsCredentials {
  std::string access_key;
  std::string secret_key;
  std::string session_token;  // of temporary ones
  bool empty() const { return access_key.empty(); }
};

struct S3Get {
  std::string host;  // as it stands in the URL, with the port if it is not the scheme's own
  std::string path;  // percent-encoded, beginning with '/'
  std::string region;
};

// The headers of a GET that is signed at `now`: good for 15 minutes.
std::vector<std::string> SignS3Get(const S3Get& get, const AwsCredentials& credentials,
                                   std::chrono::system_clock::time_point now);

// RFC 3986: everything but unreserved characters; '/' stays.
std::string EncodePath(std::string_view path);

}  // namespace weft::fetch
