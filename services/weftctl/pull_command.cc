// pull: a model from a URL, an S3 store or an OCI registry to a folder.
#include <signal.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <atomic>
#include <cctype>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <memory>
#include <sstream>
#include <string>
#include <vector>

#include "libs/base/status.h"
#include "libs/fetch/digest.h"
#include "libs/fetch/download.h"
#include "libs/fetch/source.h"
#include "services/weftctl/commands.h"
#include "services/weftctl/printable.h"
#include "services/weftctl/progress_bar.h"

namespace weft::ctl {
namespace {

using Clock = std::chrono::steady_clock;

struct PullFlags {
  std::string source;
  std::string folder;
  std::vector<std::string> sha256;
  std::string sums;
  bool plain_http = false;
  int tries = 8;
  int stall = 60;
  bool quiet = false;
};

std::atomic<bool> interrupted{false};

// A line now and then where there is no terminal: in the log of a pod.
class Reporter {
 public:
  explicit Reporter(bool quiet) : quiet_(quiet), terminal_(isatty(STDERR_FILENO) != 0) {}

  void Show(const fetch::Progress& p) {
    const auto now = Clock::now();
    if (quiet_) return;
    if (p.name != name_) {
      name_ = p.name;
      begin_ = last_ = now;
      first_ = p.done;
    }
    const double fraction =
        p.total == 0 ? 0 : static_cast<double>(p.done) / static_cast<double>(p.total);
    const double seconds = std::chrono::duration<double>(now - begin_).count();
    const double rate = seconds > 0 ? static_cast<double>(p.done - first_) / seconds / 1e6 : 0;
    const std::string text = fmt::format(
        "{} {:.1f}{} MB, {:.1f} MB/s", Printable(p.name), static_cast<double>(p.done) / 1e6,
        p.total == 0 ? "" : fmt::format(" of {:.1f}", static_cast<double>(p.total) / 1e6), rate);
    if (terminal_) {
      bar_.Show(fraction, text);
    } else if (now - last_ >= std::chrono::seconds(10)) {
      last_ = now;
      fmt::print(stderr, "{:.0f} % {}\n", 100 * fraction, text);
    }
  }

  void Say(const std::string& line) const {
    if (!quiet_) fmt::print(stderr, "{}\n", line);
  }

 private:
  const bool quiet_;
  const bool terminal_;
  ProgressBar bar_;
  std::string name_;
  Clock::time_point begin_, last_;
  uint64_t first_ = 0;
};

// Lines of `sha256sum`: HEX, two spaces (or a space and a star), name.
absl::Status TakeSums(const std::string& path, std::vector<fetch::RemoteFile>& files) {
  std::ifstream in(path);
  if (!in) return NotFound("--sha256sums: cannot read {}", path);
  std::vector<std::pair<std::string, std::string>> sums;
  for (std::string line; std::getline(in, line);) {
    if (line.empty() || line[0] == '#') continue;
    if (line.size() < 67 || line[64] != ' ' || !fetch::IsSha256Hex(line.substr(0, 64))) {
      return InvalidArgument("{}: line {} is none of sha256sum's", path, sums.size() + 1);
    }
    sums.emplace_back(line.substr(66), line.substr(0, 64));
  }
  for (fetch::RemoteFile& file : files) {
    const auto it = std::find_if(sums.begin(), sums.end(), [&](const auto& s) {
      return s.first == file.name || s.first == "./" + file.name;
    });
    if (it == sums.end()) return InvalidArgument("{}: no line for {}", path, file.name);
    file.sha256 = it->second;
  }
  return absl::OkStatus();
}

absl::Status TakeChecksums(const PullFlags& flags, std::vector<fetch::RemoteFile>& files) {
  if (!flags.sums.empty()) return TakeSums(flags.sums, files);
  if (!flags.sha256.empty() && flags.sha256.size() != files.size()) {
    return InvalidArgument("--sha256: {} given, but there are {} files: {} … {}",
                           flags.sha256.size(), files.size(), files.front().name,
                           files.back().name);
  }
  for (size_t i = 0; i < flags.sha256.size(); ++i) {
    std::string sum = flags.sha256[i];
    std::transform(sum.begin(), sum.end(), sum.begin(),
                   [](unsigned char c) { return std::tolower(c); });
    if (!fetch::IsSha256Hex(sum))
      return InvalidArgument("--sha256: '{}' is not 64 hexadecimal digits", Printable(sum));
    if (!files[i].sha256.empty() && files[i].sha256 != sum) {
      return InvalidArgument("--sha256: the manifest says {} for {}", files[i].sha256,
                             files[i].name);
    }
    files[i].sha256 = sum;
  }
  for (const fetch::RemoteFile& file : files) {
    if (file.sha256.empty() && flags.source.starts_with("http://")) {
      return InvalidArgument("{}: over plain http anybody on the way can change it; give --sha256",
                             fetch::ShownUrl(file.url));
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<int> RunPull(const PullFlags& flags) {
  for (const int number : {SIGINT, SIGTERM}) signal(number, [](int) { interrupted = true; });
  fetch::SourceOptions source = fetch::FromEnvironment();
  source.plain_http = flags.plain_http;
  source.http.cancel = &interrupted;
  source.http.stall = std::chrono::seconds(flags.stall);
  const auto begin = Clock::now();
  WEFT_ASSIGN_OR_RETURN(std::vector<fetch::RemoteFile> files, fetch::Resolve(flags.source, source));
  WEFT_RETURN_IF_ERROR(TakeChecksums(flags, files));
  Reporter reporter(flags.quiet);
  fetch::DownloadOptions options;
  options.http = source.http;
  options.tries = flags.tries;
  options.progress = [&](const fetch::Progress& p) { reporter.Show(p); };
  options.say = [&](const std::string& line) { reporter.Say(Printable(line)); };
  for (const fetch::RemoteFile& file : files) {
    const std::string path = (std::filesystem::path(flags.folder) / file.name).string();
    const absl::StatusOr<fetch::Downloaded> got = fetch::Download(file, path, options);
    if (got.status().code() == absl::StatusCode::kCancelled) {
      fmt::print(stderr, "weftctl: {}; the next pull goes on there\n", Message(got.status()));
      return 130;
    }
    WEFT_RETURN_IF_ERROR(got.status());
    if (flags.quiet) continue;
    const double seconds = std::chrono::duration<double>(Clock::now() - begin).count();
    fmt::print("{}: {:.1f} MB, sha256 {}{}\n", path, static_cast<double>(got->bytes) / 1e6,
               got->sha256,
               got->was_there ? ", was there already" : fmt::format(", {:.1f} s", seconds));
    if (file.sha256.empty()) {
      fmt::print(stderr, "{} was not checked: give --sha256 {} the next time\n", path, got->sha256);
    }
  }
  return 0;
}

}  // namespace

void AddPullCommand(CLI::App& app, Commands& commands) {
  auto flags = std::make_shared<PullFlags>();
  auto* pull = app.add_subcommand(
      "pull",
      "fetch a model into a folder; goes on where it stopped, checks it, and does nothing "
      "when it is there");
  pull->add_option("source", flags->source,
                   "https://HOST/…/FILE, s3://BUCKET/KEY or oci://HOST/NAME[:TAG|@sha256:…]; of a "
                   "split GGUF the first part. S3 and registries are signed in to as AWS' and "
                   "Docker's tools do it: AWS_… variables, DOCKER_CONFIG")
      ->required();
  pull->add_option("folder", flags->folder, "where it goes")->required();
  auto* sum = pull->add_option("--sha256", flags->sha256,
                               "what the file has to be; for each part of a split one in order");
  pull->add_option("--sha256sums", flags->sums, "file with sha256sum's lines for all of them")
      ->excludes(sum);
  pull->add_flag("--plain-http", flags->plain_http, "the registry speaks http");
  pull->add_option("--tries", flags->tries, "in a row without one more byte")
      ->check(CLI::Range(1, 1000));
  pull->add_option("--stall", flags->stall, "seconds without a byte that end a try")
      ->check(CLI::Range(1, 3600));
  pull->add_flag("--quiet", flags->quiet, "print nothing when all went well");
  commands.push_back({pull, [flags] { return RunPull(*flags); }});
}

}  // namespace weft::ctl
