#include "libs/fetch/source.h"

#include <algorithm>
#include <cctype>
#include <charconv>
#include <cstdlib>

#include "libs/base/status.h"
#include "libs/fetch/oci.h"

namespace weft::fetch {
namespace {

constexpr size_t kMaxLocator = 4096;
constexpr uint32_t kMaxParts = 1000;

std::string Env(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

std::string FirstOf(std::initializer_list<const char*> names) {
  for (const char* name : names) {
    if (std::string value = Env(name); !value.empty()) return value;
  }
  return {};
}

RemoteFile Open(std::string name, std::string url) {
  return {.name = std::move(name), .url = std::move(url), .headers = [](bool) {
            return std::vector<std::string>();
          }};
}

// The last part of a path, percent-decoded as far as it is plain text.
std::string NameIn(std::string_view path) {
  path = path.substr(path.rfind('/') + 1);
  std::string out;
  for (size_t i = 0; i < path.size(); ++i) {
    unsigned value = 0;
    if (path[i] == '%' && i + 2 < path.size() + 0 && path.size() - i >= 3 &&
        std::from_chars(path.data() + i + 1, path.data() + i + 3, value, 16).ptr ==
            path.data() + i + 3) {
      out += static_cast<char>(value);
      i += 2;
    } else {
      out += path[i];
    }
  }
  return out;
}

absl::StatusOr<std::vector<RemoteFile>> ResolveHttp(const std::string& locator) {
  const std::string_view text = locator;
  const std::string_view path = text.substr(0, std::min({text.size(), text.find_first_of("?#")}));
  const std::string_view tail = text.substr(path.size());
  const size_t host = path.find("://") + 3;
  const size_t slash = path.find('/', host);
  if (slash == path.npos || slash == host || slash + 1 == path.size() || path.back() == '/') {
    return InvalidArgument("{}: expected SCHEME://HOST/…/FILE", ShownUrl(locator));
  }
  const std::string_view folder = path.substr(0, path.rfind('/') + 1);
  WEFT_ASSIGN_OR_RETURN(const auto names, PartsOf(NameIn(path)));
  std::vector<RemoteFile> out;
  if (names.size() == 1) {  // the URL as it was given
    out.push_back(Open(names[0], locator));
  } else {
    for (const std::string& name : names) {
      out.push_back(Open(name, fmt::format("{}{}{}", folder, EncodePath(name), tail)));
    }
  }
  for (const RemoteFile& file : out) WEFT_RETURN_IF_ERROR(CheckName(file.name));
  return out;
}

absl::StatusOr<std::vector<RemoteFile>> ResolveS3(const std::string& locator,
                                                  const SourceOptions& options) {
  const std::string rest = locator.substr(5);
  const size_t slash = rest.find('/');
  const std::string bucket = rest.substr(0, slash);
  const bool good = bucket.size() >= 3 && bucket.size() <= 63 &&
                    std::all_of(bucket.begin(), bucket.end(), [](unsigned char c) {
                      return std::islower(c) != 0 || std::isdigit(c) != 0 || c == '-' || c == '.';
                    });
  if (slash == rest.npos || slash + 1 == rest.size() || rest.back() == '/' || !good) {
    return InvalidArgument("{}: expected s3://BUCKET/KEY", ShownUrl(locator));
  }
  const std::string key = rest.substr(slash + 1);
  const size_t last = key.rfind('/');
  const std::string folder = last == key.npos ? "" : key.substr(0, last + 1);
  WEFT_ASSIGN_OR_RETURN(const auto names, PartsOf(key.substr(folder.size())));
  // A bucket with dots has no certificate as a host of its own.
  const bool by_path = !options.aws_endpoint.empty() || bucket.find('.') != bucket.npos;
  std::string endpoint = options.aws_endpoint;
  if (endpoint.empty()) {
    endpoint = fmt::format("https://{}s3.{}.amazonaws.com", by_path ? "" : bucket + ".",
                           options.aws_region);
  }
  while (endpoint.ends_with('/')) endpoint.pop_back();
  const size_t scheme = endpoint.find("://");
  if (scheme == endpoint.npos || !endpoint.starts_with("http") ||
      endpoint.find('/', scheme + 3) != endpoint.npos) {
    return InvalidArgument("AWS_ENDPOINT_URL: expected http(s)://HOST[:PORT], not {}",
                           ShownUrl(endpoint));
  }
  std::vector<RemoteFile> out;
  for (const std::string& name : names) {
    WEFT_RETURN_IF_ERROR(CheckName(name));
    const std::string path = (by_path ? "/" + bucket : "") + "/" + EncodePath(folder + name);
    const S3Get get{endpoint.substr(scheme + 3), path, options.aws_region};
    RemoteFile file = Open(name, endpoint + path);
    if (!options.aws.empty()) {
      file.headers = [get, aws = options.aws](bool) -> absl::StatusOr<std::vector<std::string>> {
        return SignS3Get(get, aws, std::chrono::system_clock::now());
      };
    }
    out.push_back(std::move(file));
  }
  return out;
}

}  // namespace

SourceOptions FromEnvironment() {
  SourceOptions out;
  out.aws = {Env("AWS_ACCESS_KEY_ID"), Env("AWS_SECRET_ACCESS_KEY"), Env("AWS_SESSION_TOKEN")};
  const std::string region = FirstOf({"AWS_REGION", "AWS_DEFAULT_REGION"});
  if (!region.empty()) out.aws_region = region;
  out.aws_endpoint = FirstOf({"AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"});
  std::string folder = Env("DOCKER_CONFIG");
  if (folder.empty() && !Env("HOME").empty()) folder = Env("HOME") + "/.docker";
  if (!folder.empty()) out.docker_config = folder + "/config.json";
  out.http.ca_file = Env("SSL_CERT_FILE");
  return out;
}

absl::Status CheckName(std::string_view name) {
  const bool control =
      std::any_of(name.begin(), name.end(), [](unsigned char c) { return c < 0x20 || c == 0x7f; });
  const std::string padded = "/" + std::string(name) + "/";
  if (name.empty() || name.size() > 255 || name.front() == '/' || name.front() == '.' || control ||
      name.find('\\') != name.npos || padded.find("/../") != padded.npos ||
      padded.find("//") != padded.npos || padded.find("/./") != padded.npos) {
    std::string shown;
    for (const char c : name.substr(0, 100)) shown += c >= 0x20 && c < 0x7f ? c : '?';
    return InvalidArgument("'{}' is no name for a file below a folder", shown);
  }
  return absl::OkStatus();
}

absl::StatusOr<std::vector<std::string>> PartsOf(const std::string& name) {
  // STEM-00001-of-00003.EXTENSION
  const size_t dot = name.rfind('.');
  constexpr size_t kMark = 15;  // "-00001-of-00003"
  if (dot == name.npos || dot < kMark) return std::vector<std::string>{name};
  const std::string mark = name.substr(dot - kMark, kMark);
  const auto digits = [](std::string_view text) {
    return std::all_of(text.begin(), text.end(), [](unsigned char c) { return std::isdigit(c); });
  };
  if (mark[0] != '-' || mark.substr(6, 4) != "-of-" || !digits(mark.substr(1, 5)) ||
      !digits(mark.substr(10, 5))) {
    return std::vector<std::string>{name};
  }
  const uint32_t part = static_cast<uint32_t>(std::atoi(mark.substr(1, 5).c_str()));
  const uint32_t parts = static_cast<uint32_t>(std::atoi(mark.substr(10, 5).c_str()));
  if (part != 1 || parts == 0 || parts > kMaxParts) {
    return InvalidArgument("{}: name the first part, -00001-of-N with N from 1 to {}", name,
                           kMaxParts);
  }
  std::vector<std::string> out;
  for (uint32_t i = 1; i <= parts; ++i) {
    out.push_back(fmt::format("{}-{:05}-of-{:05}{}", name.substr(0, dot - kMark), i, parts,
                              name.substr(dot)));
  }
  return out;
}

absl::StatusOr<std::vector<RemoteFile>> Resolve(const std::string& locator,
                                                const SourceOptions& options) {
  if (locator.size() > kMaxLocator || std::any_of(locator.begin(), locator.end(), [](char c) {
        return static_cast<unsigned char>(c) <= 0x20 || c == 0x7f;
      })) {
    return InvalidArgument("the source holds a space or is longer than {} characters", kMaxLocator);
  }
  if (locator.starts_with("https://") || locator.starts_with("http://")) {
    return ResolveHttp(locator);
  }
  if (locator.starts_with("s3://")) return ResolveS3(locator, options);
  if (locator.starts_with("oci://")) return ResolveOci(locator, options);
  return InvalidArgument("{}: expected https://, http://, s3:// or oci://", ShownUrl(locator));
}

}  // namespace weft::fetch
