// A Lua script that Redis runs as one atomic step.
#pragma once

#include <string>
#include <string_view>

namespace weft::redis {

class Script {
 public:
  explicit Script(std::string_view source);
  const std::string& source() const { return source_; }
  const std::string& sha1() const { return sha1_; }  // 40 hex digits, its name for EVALSHA

 private:
  std::string source_;
  std::string sha1_;
};

}  // namespace weft::redis
