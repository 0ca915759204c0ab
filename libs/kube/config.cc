#include "libs/kube/config.h"

#include <yaml-cpp/yaml.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>
#include <vector>

#include "libs/base/status.h"
#include "libs/fetch/digest.h"
#include "libs/json/strict_json.h"
#include "libs/kube/run_program.h"

namespace weft::kube {
namespace {

namespace fs = std::filesystem;
constexpr char kAccountFolder[] = "/var/run/secrets/kubernetes.io/serviceaccount";
constexpr size_t kFileLimit = 1 << 20;

absl::StatusOr<std::string> ReadFile(const std::string& path, std::string_view what) {
  std::ifstream in(path, std::ios::binary);
  if (!in) return NotFound("{}: cannot read {}", what, path);
  std::string text(kFileLimit + 1, '\0');
  in.read(text.data(), static_cast<std::streamsize>(text.size()));
  text.resize(static_cast<size_t>(in.gcount()));
  if (text.size() > kFileLimit) return InvalidArgument("{}: {} is too long", what, path);
  return text;
}

std::string Trimmed(std::string text) {
  while (!text.empty() && static_cast<unsigned char>(text.back()) <= ' ') text.pop_back();
  return text;
}

// A null node where there is none: yaml-cpp throws when an undefined one is asked what it is.
YAML::Node Child(const YAML::Node& node, const char* key) {
  if (!node.IsMap()) return {};
  const YAML::Node child = node[key];
  return child.IsDefined() ? child : YAML::Node();
}

std::string Text(const YAML::Node& node, const char* key) {
  const YAML::Node child = Child(node, key);
  return child.IsScalar() ? child.Scalar() : "";
}

// The entry called `name` of one of the three lists.
absl::StatusOr<YAML::Node> Entry(const YAML::Node& root, const char* list, const char* kind,
                                 const std::string& name) {
  for (const YAML::Node& entry : Child(root, list)) {
    if (Text(entry, "name") == name && Child(entry, kind).IsMap()) return entry[kind];
  }
  return InvalidArgument("kubeconfig: {} has no '{}'", list, name);
}

// KEY-data holds base64, KEY a path.
absl::StatusOr<std::string> Pem(const YAML::Node& node, const std::string& key,
                                const std::string& folder) {
  if (const std::string data = Text(node, (key + "-data").c_str()); !data.empty()) {
    auto decoded = fetch::Base64Decode(data);
    if (!decoded) return InvalidArgument("kubeconfig: {}-data is not base64", key);
    return *decoded;
  }
  const std::string path = Text(node, key.c_str());
  if (path.empty()) return std::string();
  return ReadFile((fs::path(folder) / path).string(), "kubeconfig: " + key);
}

absl::StatusOr<std::string> RunExec(const YAML::Node& exec) {
  std::vector<std::string> command{Text(exec, "command")};
  if (command[0].empty()) return InvalidArgument("kubeconfig: exec: no command");
  for (const YAML::Node& word : Child(exec, "args")) command.push_back(word.as<std::string>());
  std::vector<std::string> environment;
  for (const YAML::Node& entry : Child(exec, "env")) {
    environment.push_back(Text(entry, "name") + "=" + Text(entry, "value"));
  }
  nlohmann::json info{{"kind", "ExecCredential"}, {"spec", {{"interactive", false}}}};
  info["apiVersion"] = Text(exec, "apiVersion");
  environment.push_back("KUBERNETES_EXEC_INFO=" + info.dump());
  WEFT_ASSIGN_OR_RETURN(const std::string output, RunProgram(command, environment));
  return ParseExecCredential(output);
}

absl::StatusOr<Access> FromNode(const YAML::Node& root, const std::string& folder,
                                std::string context, bool run_programs) {
  if (!root.IsMap()) return InvalidArgument("kubeconfig: not a map");
  if (context.empty()) context = Text(root, "current-context");
  if (context.empty()) return InvalidArgument("kubeconfig: no current-context; give --context");
  WEFT_ASSIGN_OR_RETURN(const YAML::Node chosen, Entry(root, "contexts", "context", context));
  WEFT_ASSIGN_OR_RETURN(const YAML::Node cluster,
                        Entry(root, "clusters", "cluster", Text(chosen, "cluster")));
  WEFT_ASSIGN_OR_RETURN(const YAML::Node user, Entry(root, "users", "user", Text(chosen, "user")));
  Access out;
  out.server = Text(cluster, "server");
  while (out.server.ends_with('/')) out.server.pop_back();
  if (!out.server.starts_with("https://") && !out.server.starts_with("http://")) {
    return InvalidArgument("kubeconfig: cluster '{}': server '{}' is no http or https URL",
                           Text(chosen, "cluster"), out.server);
  }
  out.verify = !Child(cluster, "insecure-skip-tls-verify").as<bool>(false);
  WEFT_ASSIGN_OR_RETURN(out.ca, Pem(cluster, "certificate-authority", folder));
  WEFT_ASSIGN_OR_RETURN(out.certificate, Pem(user, "client-certificate", folder));
  WEFT_ASSIGN_OR_RETURN(out.key, Pem(user, "client-key", folder));
  out.token = Text(user, "token");
  if (const std::string file = Text(user, "tokenFile"); !file.empty()) {
    out.token_file = (fs::path(folder) / file).string();
  }
  if (Child(user, "auth-provider").IsMap()) {
    return FailedPrecondition(
        "kubeconfig: user '{}' signs in with an auth-provider, which Kubernetes removed; use an "
        "exec "
        "entry or a token",
        Text(chosen, "user"));
  }
  if (Child(user, "exec").IsMap()) {
    if (!run_programs) return FailedPrecondition("kubeconfig: exec: no program may be run here");
    WEFT_ASSIGN_OR_RETURN(out.token, RunExec(user["exec"]));
  }
  if (const std::string space = Text(chosen, "namespace"); !space.empty()) out.name_space = space;
  return out;
}

absl::StatusOr<Access> OfPod() {
  const char* host = std::getenv("KUBERNETES_SERVICE_HOST");
  const char* port = std::getenv("KUBERNETES_SERVICE_PORT");
  const std::string folder = kAccountFolder;
  if (host == nullptr || port == nullptr || !fs::exists(folder + "/token")) {
    return NotFound(
        "no cluster: neither --kubeconfig nor KUBECONFIG nor ~/.kube/config is there, and this is "
        "no pod with a service account");
  }
  Access out;
  const std::string address = host;
  const bool v6 = address.find(':') != std::string::npos;
  out.server = fmt::format("https://{}:{}", v6 ? "[" + address + "]" : address, port);
  out.token_file = folder + "/token";
  WEFT_ASSIGN_OR_RETURN(out.ca, ReadFile(folder + "/ca.crt", "service account"));
  WEFT_ASSIGN_OR_RETURN(const std::string space,
                        ReadFile(folder + "/namespace", "service account"));
  out.name_space = Trimmed(space);
  return out;
}

}  // namespace

absl::StatusOr<std::string> ParseExecCredential(std::string_view text) {
  WEFT_ASSIGN_OR_RETURN(const nlohmann::json credential, ParseStrictJson(text));
  const auto status = credential.is_object() ? credential.find("status") : credential.end();
  if (status == credential.end() || !status->is_object() || !status->contains("token") ||
      !status->at("token").is_string()) {
    return InvalidArgument("kubeconfig: exec: the program printed no ExecCredential with a token");
  }
  return status->at("token").get<std::string>();
}

absl::StatusOr<Access> ParseKubeconfig(std::string_view text, const std::string& folder,
                                       const std::string& context, bool run_programs) {
  if (text.size() > kFileLimit) return InvalidArgument("kubeconfig: too long");
  try {
    return FromNode(YAML::Load(std::string(text)), folder, context, run_programs);
  } catch (const YAML::Exception& error) {
    return InvalidArgument("kubeconfig: line {}: {}", error.mark.line + 1, error.msg);
  }
}

absl::StatusOr<Access> FindAccess(const AccessOptions& options) {
  std::string path = options.file;
  if (path.empty()) {
    // A list of files merges in kubectl; here the first that is there counts.
    const char* listed = std::getenv("KUBECONFIG");
    std::stringstream files(listed == nullptr ? "" : listed);
    for (std::string file; path.empty() && std::getline(files, file, ':');) {
      if (!file.empty() && fs::exists(file)) path = file;
    }
    const char* home = std::getenv("HOME");
    if (path.empty() && (listed == nullptr || *listed == '\0') && home != nullptr) {
      const std::string usual = std::string(home) + "/.kube/config";
      if (fs::exists(usual)) path = usual;
    }
  }
  if (path.empty()) return OfPod();
  WEFT_ASSIGN_OR_RETURN(const std::string text, ReadFile(path, "kubeconfig"));
  auto access = ParseKubeconfig(text, fs::absolute(path).parent_path().string(), options.context);
  if (!access.ok()) return Annotate(access.status(), path);
  return access;
}

}  // namespace weft::kube
