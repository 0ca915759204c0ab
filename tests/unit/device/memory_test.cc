#include "libs/device/memory.h"

#include <filesystem>
#include <fstream>

#include "tests/support/catch.h"
#include "tests/support/temp_dir.h"

namespace weft {
namespace {

struct FakeRoot {
  void Write(const std::string& path, const std::string& text) const {
    const std::filesystem::path file = dir.File(path);
    std::filesystem::create_directories(file.parent_path());
    std::ofstream(file) << text;
  }
  AvailableMemory Read() const { return ReadAvailableMemory(dir.path()); }
  test::TempDir dir;
};

TEST_CASE("Without a control group the machine's available memory counts", "[device]") {
  FakeRoot root;
  REQUIRE(root.Read().bytes == UINT64_MAX);
  root.Write("proc/meminfo", "MemTotal:  9000 kB\nMemFree: 1 kB\nMemAvailable:    5000 kB\n");
  root.Write("proc/self/cgroup", "0::/\n");
  REQUIRE(root.Read().bytes == 5000 * 1024);
  REQUIRE(root.Read().limit == "MemAvailable of /proc/meminfo");
}

TEST_CASE("The tightest control group of version 2 counts, cached files as free", "[device]") {
  FakeRoot root;
  root.Write("proc/meminfo", "MemAvailable: 5000 kB\n");
  root.Write("proc/self/cgroup", "0::/outer/inner\n");
  root.Write("sys/fs/cgroup/outer/inner/memory.max", "max\n");
  root.Write("sys/fs/cgroup/outer/inner/memory.current", "100\n");
  root.Write("sys/fs/cgroup/outer/memory.max", "3000000\n");
  root.Write("sys/fs/cgroup/outer/memory.current", "1000000\n");
  root.Write("sys/fs/cgroup/outer/memory.stat",
             "anon 5\ninactive_file 300000\nactive_file 100000\n");
  REQUIRE(root.Read().bytes == 2400000);
  REQUIRE(root.Read().limit == root.dir.File("sys/fs/cgroup/outer/memory.max"));
  // Inside a container the group's own name is not there, but its limit is at the mount.
  root.Write("sys/fs/cgroup/memory.max", "2000000\n");
  root.Write("sys/fs/cgroup/memory.current", "2500000\n");
  REQUIRE(root.Read().bytes == 0);
}

TEST_CASE("Control groups of version 1 count too, and odd files do not", "[device]") {
  FakeRoot root;
  root.Write("proc/meminfo", "MemAvailable: 5000 kB\n");
  root.Write("proc/self/cgroup", "12:cpu,memory:/a\n4:pids:/b\nnonsense\n0::\n");
  root.Write("sys/fs/cgroup/memory/a/memory.limit_in_bytes", "1000000\n");
  root.Write("sys/fs/cgroup/memory/a/memory.usage_in_bytes", "600000\n");
  root.Write("sys/fs/cgroup/memory/a/memory.stat", "total_inactive_file 100000\n");
  REQUIRE(root.Read().bytes == 500000);
  root.Write("sys/fs/cgroup/memory/a/memory.limit_in_bytes", "none of your business\n");
  REQUIRE(root.Read().bytes == 5000 * 1024);
}

TEST_CASE("This machine has memory", "[device]") { REQUIRE(ReadAvailableMemory().bytes > 1 << 20); }

}  // namespace
}  // namespace weft
