#include "libs/config/cli.h"

#include <algorithm>
#include <cstdio>
#include <optional>
#include <string_view>
#include <vector>

#include "libs/base/shutdown.h"
#include "libs/base/status.h"

namespace weft::config {
namespace {

constexpr int kRunFailed = 1;
constexpr int kBadUsage = 2;

struct Flags {
  std::string config;
  std::vector<std::string> sets;
  bool print_config = false;
  bool config_reference = false;
  bool version = false;
  bool help = false;
  bool healthcheck = false;
  std::string healthcheck_url;
};

// Takes "--name value" and "--name=value".
absl::StatusOr<Flags> ParseFlags(const std::vector<std::string>& args, const ServiceSpec& spec) {
  Flags flags;
  const auto shortcut = [&spec](const std::string& name) {
    return std::find_if(spec.shortcuts.begin(), spec.shortcuts.end(),
                        [&name](const Shortcut& s) { return s.flag == name; });
  };
  for (size_t i = 0; i < args.size(); ++i) {
    const std::string& arg = args[i];
    const size_t equals = arg.find('=');
    const std::string name = arg.substr(0, equals);
    std::optional<std::string> inline_value;
    if (equals != std::string::npos) inline_value = arg.substr(equals + 1);
    const auto value = [&]() -> absl::StatusOr<std::string> {
      if (inline_value) return *inline_value;
      if (i + 1 >= args.size()) return InvalidArgument("{} needs a value", name);
      return args[++i];
    };
    bool* flag = nullptr;
    if (name == "--config") {
      WEFT_ASSIGN_OR_RETURN(flags.config, value());
      if (flags.config.empty()) return InvalidArgument("--config needs a value");
    } else if (name == "--set") {
      WEFT_ASSIGN_OR_RETURN(std::string set, value());
      flags.sets.push_back(std::move(set));
    } else if (const auto own = shortcut(name); own != spec.shortcuts.end()) {
      WEFT_ASSIGN_OR_RETURN(const std::string given, value());
      flags.sets.push_back(own->key + "=" + given);
    } else if (name == "--print-config") {
      flag = &flags.print_config;
    } else if (name == "--config-reference") {
      flag = &flags.config_reference;
    } else if (name == "--healthcheck") {
      flags.healthcheck = true;
      if (inline_value) flags.healthcheck_url = *inline_value;
    } else if (name == "--version") {
      flag = &flags.version;
    } else if (name == "--help" || name == "-h") {
      flag = &flags.help;
    } else {
      const std::string nearest =
          Nearest(name, {"--config", "--set", "--print-config", "--config-reference",
                         "--healthcheck", "--version", "--help"});
      return InvalidArgument("unknown argument '{}'{}", arg,
                             nearest.empty() ? std::string("; see --help")
                                             : fmt::format("; did you mean {}?", nearest));
    }
    if (flag != nullptr) {
      if (inline_value) return InvalidArgument("{} takes no value", name);
      *flag = true;
    }
  }
  return flags;
}

std::string Usage(const ServiceSpec& spec) {
  std::string shortcuts;
  for (const Shortcut& s : spec.shortcuts) {
    shortcuts +=
        fmt::format("  {:<20} the same as --set {}={}\n", s.flag + " " + s.value, s.key, s.value);
  }
  return fmt::format(
      "{0}: {1}\n\n"
      "Usage: {0} [--config FILE] [--set section.key=value]...\n\n"
      "  --config FILE        read this YAML file; without it the defaults and the environment\n"
      "  --set KEY=VALUE      override one key, e.g. --set telemetry.log_level=debug\n"
      "{2}"
      "  --print-config       print the effective configuration, secrets masked, and exit\n"
      "  --config-reference   print a Markdown table of every key and exit\n"
      "  --healthcheck[=URL]  ask the service that runs with this configuration whether it is "
      "healthy,\n"
      "                       or URL (http://HOST:PORT/ready); exit 0 when the answer is 200\n"
      "  --version            print the version and exit\n"
      "  --help               print this and exit\n\n"
      "Every key can also be set by the environment: WEFT_<SECTION>_<KEY>.\n",
      spec.name, spec.summary, shortcuts);
}

int Fail(const ServiceSpec& spec, std::string_view message, int code) {
  std::fprintf(stderr, "%s: %.*s\n", spec.name.c_str(), static_cast<int>(message.size()),
               message.data());
  return code;
}

int Print(const std::string& text) {
  const bool written = std::fwrite(text.data(), 1, text.size(), stdout) == text.size();
  return written && std::fflush(stdout) == 0 ? 0 : kRunFailed;
}

}  // namespace

std::string Version() { return WEFT_VERSION; }

int ServiceMain(int argc, char** argv, const ServiceSpec& spec) {
  const auto flags =
      ParseFlags(std::vector<std::string>(argv + (argc > 0 ? 1 : 0), argv + argc), spec);
  if (!flags.ok()) return Fail(spec, Message(flags.status()), kBadUsage);
  if (flags->help) return Print(Usage(spec));
  if (flags->version) return Print(fmt::format("{} {}\n", spec.name, Version()));

  Schema schema;
  spec.declare(schema);
  if (flags->config_reference) return Print(schema.Reference());

  const absl::Status loaded = schema.Load({.file = flags->config,
                                           .text = std::nullopt,
                                           .environment = ProcessEnvironment(),
                                           .sets = flags->sets});
  if (!loaded.ok()) return Fail(spec, Message(loaded), kBadUsage);
  if (spec.validate) {
    if (const absl::Status valid = spec.validate(); !valid.ok()) {
      return Fail(spec, Message(valid), kBadUsage);
    }
  }
  if (flags->print_config) return Print(schema.EffectiveYaml());

  if (flags->healthcheck) {
    if (!spec.check_health) return Fail(spec, "has no health check", kBadUsage);
    const absl::Status healthy = spec.check_health(flags->healthcheck_url);
    return healthy.ok() ? 0 : Fail(spec, Message(healthy), kRunFailed);
  }

  BlockShutdownSignals();
  const absl::Status status = spec.run();
  if (!status.ok()) return Fail(spec, ToString(status), kRunFailed);
  return 0;
}

}  // namespace weft::config
