// How to reach a Kubernetes API server: from a kubeconfig, or as a pod does.
#pragma once

#include <absl/status/statusor.h>

#include <string>
#include <string_view>

namespace weft::kube {

struct Access {
  std::string server;                // https://HOST:PORT, http:// for `kubectl proxy`
  std::string ca, certificate, key;  // PEM texts; may be empty
  std::string token;                 // or
  std::string token_file;            // read before each request: a pod's token changes
  bool verify = true;
  std::string name_space = "default";
};

struct AccessOptions {
  std::string file =
      {};  // --kubeconfig; empty: $KUBECONFIG, ~/.kube/config, then the pod's account
  std::string context = {};  // empty: the file's current one
};

// The text of a kubeconfig (v1); `folder` is what its relative paths begin at. Certificates, tokens
// and `exec` programs are understood; `exec` programs are run, unless `run_programs` is false.
// INVALID_ARGUMENT names the entry that is wrong or missing, FAILED_PRECONDITION what the user's
// entry wants and cannot be had.
absl::StatusOr<Access> ParseKubeconfig(std::string_view text, const std::string& folder,
                                       const std::string& context, bool run_programs = true);

// NOT_FOUND says where was looked.
absl::StatusOr<Access> FindAccess(const AccessOptions& options);

// The token in an ExecCredential that a program printed. INVALID_ARGUMENT for anything else.
absl::StatusOr<std::string> ParseExecCredential(std::string_view text);

}  // namespace weft::kube
