// The whole configuration of one binary: its sections of the mesh's file, the environment and
// --set. Later sources win: defaults, file, WEFT_<SECTION>_<KEY>, --set section.key=value.
#pragma once

#include <absl/status/status.h>

#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "libs/config/binder.h"

namespace weft::config {

// The names that may stand at the top of the mesh's file, whoever reads it.
const std::vector<std::string>& KnownSections();

struct Sources {
  std::string file;                 // path; empty: no file
  std::optional<std::string> text;  // instead of the file's content; `file` then only names it
  std::vector<std::pair<std::string, std::string>> environment;  // only WEFT_… are looked at
  std::vector<std::string> sets;                                 // "gateway.listen=0.0.0.0:80"
};

// The process's environment.
std::vector<std::pair<std::string, std::string>> ProcessEnvironment();

class Schema {
 public:
  // Declares a top-level section that this binary reads.
  void Section(std::string name, std::string help, const std::function<void(Binder&)>& bind);

  // Sets the bound fields. One status holds every error found, a line each.
  absl::Status Load(const Sources& sources);

  // Effective values as YAML that loads again (secrets masked).
  std::string EffectiveYaml() const;
  // A Markdown table for each section: key, type, default, range, environment variable, meaning.
  // Defaults are the values now, so ask before Load.
  std::string Reference() const;

  // "WEFT_GATEWAY_TLS_CERT_FILE"
  static std::string EnvironmentName(std::string_view path);

 private:
  struct Part {
    std::string name;
    std::string help;
    Binder binder;
  };

  void ApplyFile(const Value& root, std::vector<std::string>& errors) const;
  void ApplyEnvironment(const Sources& sources, std::vector<std::string>& errors) const;
  void ApplySet(const std::string& set, std::vector<std::string>& errors) const;
  const Key* FindKey(std::string_view path) const;

  std::vector<Part> parts_;
};

}  // namespace weft::config
