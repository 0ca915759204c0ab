#include "services/weftctl/supervise/log_pipe.h"

#include <fcntl.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <sstream>

#include "tests/support/catch.h"

namespace weft::supervise {
namespace {

namespace fs = std::filesystem;

struct Folder {
  Folder() {
    char name[] = "/tmp/weft-log-XXXXXX";
    path = mkdtemp(name);
  }
  ~Folder() { fs::remove_all(path); }
  fs::path path;
};

std::string Contents(const fs::path& path) {
  std::ifstream file(path);
  std::stringstream text;
  text << file.rdbuf();
  return text.str();
}

void Feed(LogPipe& log, const std::string& text) {
  int ends[2];
  REQUIRE(pipe(ends) == 0);
  log.Attach(ends[0]);
  REQUIRE(write(ends[1], text.data(), text.size()) == static_cast<ssize_t>(text.size()));
  close(ends[1]);
  while (log.Read()) {
  }
}

}  // namespace

TEST_CASE("LogPipe writes whole lines to the file and prefixes them on the console",
          "[supervise]") {
  Folder folder;
  const fs::path console = folder.path / "console";
  const int fd = open(console.c_str(), O_WRONLY | O_CREAT, 0600);
  LogPipe log({.path = folder.path / "a.log", .prefix = "a | ", .console = true, .console_fd = fd});
  Feed(log, "one\ntwo\nno newline at the end");
  CHECK(Contents(folder.path / "a.log") == "one\ntwo\nno newline at the end\n");
  CHECK(Contents(console) == "a | one\na | two\na | no newline at the end\n");
  CHECK(log.recent().size() == 3);
  close(fd);
}

TEST_CASE("LogPipe keeps reading when the disk is full and counts what is lost", "[supervise]") {
  LogPipe log({.path = "/dev/full", .prefix = "a | ", .console = false});
  Feed(log, "one\ntwo\nthree\n");
  CHECK(log.dropped_lines() == 3);
  CHECK(log.recent().back() == "three");
}

TEST_CASE("LogPipe keeps reading when the log's folder is gone", "[supervise]") {
  LogPipe log({.path = "/nonexistent/weft/a.log", .prefix = "a | ", .console = false});
  Feed(log, "one\n");
  CHECK(log.dropped_lines() == 1);
}

TEST_CASE("LogPipe starts a new file past the size limit and keeps one old file", "[supervise]") {
  Folder folder;
  LogPipe log({.path = folder.path / "a.log", .prefix = "", .console = false, .rotate_bytes = 100});
  Feed(log, std::string(101, 'x') + "\nafter\n");
  CHECK(Contents(folder.path / "a.log") == "after\n");
  CHECK(Contents(folder.path / "a.log.1") == std::string(101, 'x') + "\n");
}

TEST_CASE("LogPipe cuts a line that never ends", "[supervise]") {
  Folder folder;
  LogPipe log({.path = folder.path / "a.log", .prefix = "", .console = false});
  int ends[2];
  REQUIRE(pipe(ends) == 0);
  log.Attach(ends[0]);
  const std::string piece(32 * 1024, 'y');
  for (int i = 0; i < 8; ++i) {
    REQUIRE(write(ends[1], piece.data(), piece.size()) == static_cast<ssize_t>(piece.size()));
    log.Read();
  }
  CHECK(log.recent().size() >= 2);
  close(ends[1]);
}

}  // namespace weft::supervise
