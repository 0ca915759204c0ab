#include "libs/base/atomic_file.h"

#include <filesystem>
#include <fstream>
#include <iterator>

#include "libs/base/status.h"
#include "tests/support/catch.h"
#include "tests/support/temp_dir.h"

namespace weft {
namespace {

std::string Read(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

size_t FilesIn(const std::string& folder) {
  size_t count = 0;
  for ([[maybe_unused]] const auto& entry : std::filesystem::directory_iterator(folder)) ++count;
  return count;
}

TEST_CASE("AtomicFile replaces a file when it is committed, and not before", "[base]") {
  const test::TempDir dir;
  std::ofstream(dir.File("a")) << "old";
  auto file = AtomicFile::Create(dir.File("a")).value();
  REQUIRE(file.Append("new ").ok());
  REQUIRE(file.Append("bytes").ok());
  REQUIRE(file.bytes() == 9);
  REQUIRE(Read(dir.File("a")) == "old");
  REQUIRE(file.Commit().ok());
  REQUIRE(Read(dir.File("a")) == "new bytes");
  REQUIRE(FilesIn(dir.path()) == 1);
}

TEST_CASE("AtomicFile leaves nothing behind without a commit", "[base]") {
  const test::TempDir dir;
  {
    auto file = AtomicFile::Create(dir.File("a")).value();
    REQUIRE(file.Append("bytes").ok());
    REQUIRE(FilesIn(dir.path()) == 1);
  }
  REQUIRE(FilesIn(dir.path()) == 0);
}

TEST_CASE("AtomicFile says where it cannot write and what does not fit", "[base]") {
  const auto nowhere = AtomicFile::Create("/nonexistent/a");
  CHECK_THAT(std::string(Message(nowhere.status())), ContainsSubstring("/nonexistent/a"));
  const test::TempDir dir;
  const auto huge = AtomicFile::Create(dir.File("a"), uint64_t{1} << 62);
  REQUIRE(huge.status().code() == absl::StatusCode::kResourceExhausted);
  CHECK_THAT(std::string(Message(huge.status())), ContainsSubstring("4611686018427387904 bytes"));
  REQUIRE(FilesIn(dir.path()) == 0);
}

}  // namespace
}  // namespace weft
