#include <dirent.h>
#include <sys/resource.h>
#include <unistd.h>

#include <chrono>
#include <fstream>

#include "libs/telemetry/metrics.h"

namespace weft::telemetry {
namespace {

double ResidentBytes() {
  std::ifstream statm("/proc/self/statm");
  double total = 0;
  double resident = 0;
  statm >> total >> resident;
  return resident * static_cast<double>(sysconf(_SC_PAGESIZE));
}

double CpuSeconds() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  const auto seconds = [](const timeval& t) {
    return static_cast<double>(t.tv_sec) + static_cast<double>(t.tv_usec) * 1e-6;
  };
  return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

double OpenDescriptors() {
  DIR* dir = opendir("/proc/self/fd");
  if (dir == nullptr) return 0;
  double count = -3;  // ".", ".." and the directory itself
  while (readdir(dir) != nullptr) ++count;
  closedir(dir);
  return count;
}

double MaxDescriptors() {
  rlimit limit{};
  getrlimit(RLIMIT_NOFILE, &limit);
  return static_cast<double>(limit.rlim_cur);
}

}  // namespace

void WatchProcess(Registry& registry, const std::string& service, const std::string& version) {
  registry.WatchGauge("process_resident_memory_bytes", "Resident memory size in bytes.", {},
                      ResidentBytes);
  registry.WatchCounter("process_cpu_seconds_total", "User and system CPU time in seconds.", {},
                        CpuSeconds);
  registry.WatchGauge("process_open_fds", "Open file descriptors.", {}, OpenDescriptors);
  registry.WatchGauge("process_max_fds", "Limit of open file descriptors.", {}, MaxDescriptors);
  const double started =
      static_cast<double>(std::chrono::duration_cast<std::chrono::seconds>(
                              std::chrono::system_clock::now().time_since_epoch())
                              .count());
  registry.WatchGauge("process_start_time_seconds", "Start of the process, Unix time.", {},
                      [started] { return started; });
  registry.WatchGauge("weft_build_info", "Always 1; the labels say what runs.",
                      {{"service", service}, {"version", version}}, [] { return 1.0; });
}

}  // namespace weft::telemetry
