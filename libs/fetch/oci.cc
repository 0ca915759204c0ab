#include "libs/fetch/oci.h"

#include <algorithm>
#include <cctype>
#include <fstream>
#include <iterator>
#include <mutex>
#include <nlohmann/json.hpp>
#include <regex>

#include "libs/base/status.h"
#include "libs/fetch/digest.h"
#include "libs/json/strict_json.h"

namespace weft::fetch {
namespace {

using nlohmann::json;

constexpr size_t kMaxManifest = 4 << 20;
constexpr size_t kMaxToken = 1 << 20;
constexpr size_t kMaxLayers = 4096;
constexpr std::string_view kTitle = "org.opencontainers.image.title";
constexpr std::string_view kAccept =
    "Accept: application/vnd.oci.image.manifest.v1+json, "
    "application/vnd.docker.distribution.manifest.v2+json";

std::string TextIn(const json& object, const std::string& key) {
  const auto it = object.find(key);
  return it != object.end() && it->is_string() ? it->get<std::string>() : "";
}

// Who may read one repository of one registry. Thread safe.
class Registry {
 public:
  Registry(OciReference reference, const SourceOptions& options, std::string auth)
      : reference_(std::move(reference)), options_(options), auth_(std::move(auth)) {}

  std::string Url(std::string_view kind, std::string_view what) const {
    return fmt::format("{}://{}/v2/{}/{}/{}", options_.plain_http ? "http" : "https",
                       reference_.host, reference_.name, kind, what);
  }

  std::vector<std::string> Headers() {
    const std::lock_guard lock(mutex_);
    if (authorization_.empty()) return {};
    return {"Authorization: " + authorization_};
  }

  // After a 401 with this challenge.
  absl::Status Authorize(std::string_view authenticate) {
    WEFT_ASSIGN_OR_RETURN(const Challenge challenge, ParseChallenge(authenticate));
    if (challenge.scheme == "basic") {
      if (auth_.empty()) {
        return Unauthenticated("{}: the registry wants a user and a password; put them into {}",
                               reference_.host, options_.docker_config);
      }
      Set("Basic " + auth_);
      return absl::OkStatus();
    }
    if (challenge.scheme != "bearer") {
      return Unauthenticated("{}: the registry asks for '{}', which is neither Basic nor Bearer",
                             reference_.host, challenge.scheme);
    }
    return FetchToken(challenge);
  }

  // The challenge of a request that has no authorisation.
  absl::Status Renew() {
    HttpHead head;
    std::string body;
    const absl::Status status =
        HttpGetText({.url = fmt::format("{}://{}/v2/", options_.plain_http ? "http" : "https",
                                        reference_.host)},
                    options_.http, kMaxManifest, &body, &head);
    if (status.ok()) return absl::OkStatus();
    if (head.status != 401) return status;
    return Authorize(head.authenticate);
  }

 private:
  absl::Status FetchToken(const Challenge& challenge) {
    const auto find = [&](const std::string& key) {
      const auto it = challenge.parameters.find(key);
      return it == challenge.parameters.end() ? std::string() : it->second;
    };
    const std::string realm = find("realm");
    const bool secure = realm.starts_with("https://");
    if (!secure && !(options_.plain_http && realm.starts_with("http://"))) {
      return FailedPrecondition("{}: the token service '{}' is not https", reference_.host,
                                ShownUrl(realm));
    }
    std::string url = realm + (realm.find('?') == realm.npos ? "?" : "&");
    url += fmt::format("service={}&scope=repository:{}:pull", EncodePath(find("service")),
                       EncodePath(reference_.name));
    HttpRequest request{.url = url};
    if (!auth_.empty()) request.headers.push_back("Authorization: Basic " + auth_);
    std::string body;
    WEFT_RETURN_IF_ERROR(Annotate(HttpGetText(request, options_.http, kMaxToken, &body),
                                  "the registry's token service"));
    const absl::StatusOr<json> parsed = ParseStrictJson(body);
    std::string token;
    if (parsed.ok() && parsed->is_object()) {
      token = TextIn(*parsed, "token");
      if (token.empty()) token = TextIn(*parsed, "access_token");
    }
    if (token.empty() || std::any_of(token.begin(), token.end(),
                                     [](unsigned char c) { return c <= 0x20 || c >= 0x7f; })) {
      return FailedPrecondition("{}: the answer holds no token", ShownUrl(realm));
    }
    Set("Bearer " + token);
    return absl::OkStatus();
  }

  void Set(std::string authorization) {
    const std::lock_guard lock(mutex_);
    authorization_ = std::move(authorization);
  }

  const OciReference reference_;
  const SourceOptions options_;
  const std::string auth_;
  std::mutex mutex_;
  std::string authorization_;
};

absl::StatusOr<std::string> AuthFor(const std::string& path, const std::string& host) {
  if (path.empty()) return std::string();
  std::ifstream file(path, std::ios::binary);
  if (!file) return std::string();
  const std::string text(std::istreambuf_iterator<char>(file), {});
  absl::StatusOr<std::string> auth = DockerAuth(text, host);
  if (!auth.ok()) return Annotate(auth.status(), path);
  return auth;
}

}  // namespace

absl::StatusOr<OciReference> ParseOciReference(std::string_view locator) {
  const std::string text(locator.starts_with("oci://") ? locator.substr(6) : locator);
  static const std::regex kForm(
      R"(([A-Za-z0-9.-]+(?::[0-9]{1,5})?|\[[0-9A-Fa-f:]+\](?::[0-9]{1,5})?)/)"
      R"(([a-z0-9]+(?:[._/-]+[a-z0-9]+)*))"
      R"((?::([A-Za-z0-9_][A-Za-z0-9._-]{0,127}))?(?:@(sha256:[0-9a-f]{64}))?)");
  std::smatch match;
  if (text.size() > 1024 || !std::regex_match(text, match, kForm)) {
    return InvalidArgument("{}: expected oci://HOST[:PORT]/NAME[:TAG|@sha256:…]",
                           ShownUrl(locator));
  }
  OciReference out{match[1], match[2], match[3], match[4]};
  if (!out.digest.empty()) {
    out.tag.clear();
  } else if (out.tag.empty()) {
    out.tag = "latest";
  }
  return out;
}

absl::StatusOr<Challenge> ParseChallenge(std::string_view text) {
  Challenge out;
  size_t at = 0;
  const auto token = [&] {
    const size_t begin = at;
    while (at < text.size() && (std::isalnum(static_cast<unsigned char>(text[at])) != 0 ||
                                text[at] == '-' || text[at] == '_')) {
      ++at;
    }
    std::string word(text.substr(begin, at - begin));
    std::transform(word.begin(), word.end(), word.begin(),
                   [](unsigned char c) { return std::tolower(c); });
    return word;
  };
  const auto skip = [&](std::string_view what) {
    while (at < text.size() && what.find(text[at]) != what.npos) ++at;
  };
  out.scheme = token();
  if (out.scheme.empty()) return Unauthenticated("the server does not say how to sign in");
  skip(" ");
  while (at < text.size() && out.parameters.size() < 16) {
    const std::string key = token();
    if (key.empty() || at >= text.size() || text[at] != '=') break;
    ++at;
    std::string value;
    if (at < text.size() && text[at] == '"') {
      ++at;
      while (at < text.size() && text[at] != '"') {
        if (text[at] == '\\' && at + 1 < text.size()) ++at;
        value += text[at++];
      }
      if (at >= text.size()) return Unauthenticated("WWW-Authenticate: a quote is not closed");
      ++at;
    } else {
      while (at < text.size() && text[at] != ',' && text[at] != ' ') value += text[at++];
    }
    out.parameters[key] = value;
    skip(", ");
  }
  return out;
}

absl::StatusOr<std::vector<OciLayer>> ParseManifest(std::string_view text) {
  WEFT_ASSIGN_OR_RETURN(const json manifest, ParseStrictJson(text));
  const auto bad = [](const std::string& what) { return InvalidArgument("manifest: {}", what); };
  if (!manifest.is_object()) return bad("no object");
  if (manifest.contains("manifests")) {
    return bad("an index of several; give the digest of one of its manifests");
  }
  const auto layers = manifest.find("layers");
  if (layers == manifest.end() || !layers->is_array()) return bad("no layers");
  if (layers->size() > kMaxLayers) return bad(fmt::format("more than {} layers", kMaxLayers));
  std::vector<OciLayer> out;
  for (size_t i = 0; i < layers->size(); ++i) {
    const json& layer = (*layers)[i];
    const std::string where = fmt::format("layers[{}]", i);
    if (!layer.is_object()) return bad(where + ": no object");
    const auto notes = layer.find("annotations");
    if (notes == layer.end() || !notes->is_object()) continue;
    const std::string name = TextIn(*notes, std::string(kTitle));
    if (name.empty()) continue;
    WEFT_RETURN_IF_ERROR(Annotate(CheckName(name), "manifest: " + where));
    if (TextIn(*notes, "io.deis.oras.content.unpack") == "true") {
      return bad(fmt::format("{} ({}) is a packed folder; push its files instead", where, name));
    }
    const std::string digest = TextIn(layer, "digest");
    const auto size = layer.find("size");
    if (!digest.starts_with("sha256:") || !IsSha256Hex(digest.substr(7))) {
      return bad(where + ": digest is not sha256:…");
    }
    if (size == layer.end() || !size->is_number_unsigned()) return bad(where + ": no size");
    if (std::any_of(out.begin(), out.end(), [&](const OciLayer& l) { return l.name == name; })) {
      return bad(fmt::format("{}: two layers are called {}", where, name));
    }
    out.push_back({name, digest.substr(7), size->get<uint64_t>()});
  }
  if (out.empty()) {
    return bad(fmt::format("no layer has a name ({}): this is an image, not files", kTitle));
  }
  return out;
}

absl::StatusOr<std::string> DockerAuth(std::string_view text, std::string_view host) {
  WEFT_ASSIGN_OR_RETURN(const json config, ParseStrictJson(text));
  if (!config.is_object()) return InvalidArgument("no object");
  const auto auths = config.find("auths");
  if (auths == config.end() || !auths->is_object()) return std::string();
  for (const auto& [key, entry] : auths->items()) {
    std::string_view name = key;
    if (const size_t scheme = name.find("://"); scheme != name.npos) name.remove_prefix(scheme + 3);
    name = name.substr(0, name.find('/'));
    if (name != host || !entry.is_object()) continue;
    if (const std::string auth = TextIn(entry, "auth"); !auth.empty()) return auth;
    const std::string user = TextIn(entry, "username");
    if (!user.empty()) return Base64(user + ":" + TextIn(entry, "password"));
  }
  return std::string();
}

absl::StatusOr<std::vector<RemoteFile>> ResolveOci(const std::string& locator,
                                                   const SourceOptions& options) {
  WEFT_ASSIGN_OR_RETURN(const OciReference reference, ParseOciReference(locator));
  WEFT_ASSIGN_OR_RETURN(std::string auth, AuthFor(options.docker_config, reference.host));
  const auto registry = std::make_shared<Registry>(reference, options, std::move(auth));
  const std::string wanted = reference.digest.empty() ? reference.tag : reference.digest;

  HttpRequest request{.url = registry->Url("manifests", wanted)};
  std::string body;
  HttpHead head;
  for (int round = 0;; ++round) {
    request.headers = registry->Headers();
    request.headers.emplace_back(kAccept);
    const absl::Status status = HttpGetText(request, options.http, kMaxManifest, &body, &head);
    if (status.ok()) break;
    if (head.status != 401 || round > 0) return status;
    WEFT_RETURN_IF_ERROR(registry->Authorize(head.authenticate));
  }
  const std::string digest = "sha256:" + Sha256Hex(body);
  const std::string promised = reference.digest.empty() ? head.digest : reference.digest;
  if (promised.starts_with("sha256:") && promised != digest) {
    return DataLoss("{}: the manifest is {}, not {}", ShownUrl(request.url), digest, promised);
  }
  WEFT_ASSIGN_OR_RETURN(const auto layers, ParseManifest(body));
  std::vector<RemoteFile> out;
  for (const OciLayer& layer : layers) {
    RemoteFile file{.name = layer.name,
                    .url = registry->Url("blobs", "sha256:" + layer.sha256),
                    .size = layer.size,
                    .sha256 = layer.sha256,
                    .headers = {}};
    file.headers = [registry](bool renew) -> absl::StatusOr<std::vector<std::string>> {
      if (renew) WEFT_RETURN_IF_ERROR(registry->Renew());
      return registry->Headers();
    };
    out.push_back(std::move(file));
  }
  return out;
}

}  // namespace weft::fetch
