// Names of cached answers, and patterns over them.
#pragma once

#include <string>
#include <string_view>

namespace weft::cache {

// What an answer depends on. Nothing else may decide about it, and nothing may be left out.
struct KeyParts {
  std::string_view tenant;  // answers are never shared between tenants
  std::string_view model;
  std::string_view version;  // of the model's weights
  std::string_view request;  // canonical JSON: what the model was asked, and how it is judged
};

// "code_gen:TENANT:MODEL:<64 hex digits of SHA-256>". The hash is over all parts with their
// lengths, so that no two sets of parts have the same text. In names everything but letters,
// digits, '.', '_', '-' and '/' is percent encoded.
std::string CacheKey(const KeyParts& parts);

// A selection of keys; what is empty selects all.
struct KeyPattern {
  std::string tenant = {};
  std::string model = {};
  std::string glob = {};  // over the whole key: '*' any text, '?' one byte; "code_gen:acme:qwen*:*"

  bool Matches(std::string_view key) const;
  bool all() const { return tenant.empty() && model.empty() && glob.empty(); }
  // As Redis' SCAN takes it; a superset where there is a glob besides.
  std::string RedisGlob() const;
  // One line of text and back; false for text that is none.
  std::string Encode() const;
  static bool Decode(std::string_view text, KeyPattern& out);
};

// Linear in both for every pattern.
bool GlobMatches(std::string_view pattern, std::string_view text);

}  // namespace weft::cache
