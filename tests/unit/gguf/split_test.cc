// Models in several files.
#include <fmt/format.h>

#include <cstring>
#include <filesystem>
#include <fstream>

#include "libs/base/status.h"
#include "libs/gguf/gguf.h"
#include "libs/gguf/gguf_writer.h"
#include "tests/support/catch.h"
#include "tests/support/temp_dir.h"

namespace weft {
namespace {

// One part: tensor "t<i>" of four floats that are all i, for each i in `tensors`.
struct PartSpec {
  uint64_t number, count, total;
  std::vector<int> tensors;
  bool metadata = false;
};

std::string PartBytes(const PartSpec& spec) {
  GgufWriter writer;
  if (spec.metadata) writer.AddString("general.architecture", "llama");
  writer.AddUint64("split.no", spec.number);
  writer.AddUint64("split.count", spec.count);
  writer.AddUint64("split.tensors.count", spec.total);
  std::vector<std::string> data;
  data.reserve(spec.tensors.size());
  for (const int i : spec.tensors) {
    const float values[4] = {float(i), float(i), float(i), float(i)};
    data.emplace_back(reinterpret_cast<const char*>(values), sizeof(values));
    writer.AddTensor("t" + std::to_string(i), 0, std::vector<int64_t>{4}, data.back());
  }
  return writer.Finish();
}

std::vector<std::string> ThreeParts() {
  return {PartBytes({0, 3, 4, {0, 1}, true}), PartBytes({1, 3, 4, {2}}), PartBytes({2, 3, 4, {3}})};
}

std::string ErrorOf(std::vector<std::string> parts) {
  const auto file = GgufFile::FromParts(std::move(parts));
  return file.ok() ? "no error" : std::string(Message(file.status()));
}

struct Folder {
  explicit Folder(const std::vector<std::string>& parts) {
    for (size_t i = 0; i < parts.size(); ++i) Write(Name(i), parts[i]);
  }
  std::string Name(size_t i) const { return fmt::format("m-{:05}-of-00003.gguf", i + 1); }
  void Write(const std::string& name, const std::string& bytes) const {
    std::ofstream(dir.File(name), std::ios::binary) << bytes;
  }
  std::string Error(const std::string& name) const {
    const auto file = GgufFile::Open(dir.File(name));
    return file.ok() ? "no error" : std::string(Message(file.status()));
  }
  test::TempDir dir;
};

TEST_CASE("The first part of a split model brings the tensors of all", "[gguf]") {
  const Folder folder(ThreeParts());
  const auto file = GgufFile::Open(folder.dir.File(folder.Name(0))).value();
  REQUIRE(file->tensors().size() == 4);
  REQUIRE(file->GetString("general.architecture").value() == "llama");
  uint64_t bytes = 0;
  for (const std::string& part : ThreeParts()) bytes += part.size();
  REQUIRE(file->file_bytes() == bytes);
  REQUIRE(file->contents().size() == 3);
  for (int i = 0; i < 4; ++i) {
    const GgufFile::Tensor* tensor = file->FindTensor("t" + std::to_string(i));
    REQUIRE(tensor != nullptr);
    float value = -1;
    std::memcpy(&value, tensor->data + 12, 4);
    REQUIRE(value == static_cast<float>(i));
  }
  // What a worker ships is that of the whole model.
  GgufWriter writer;
  writer.AddString("general.architecture", "llama");
  REQUIRE(MetadataSha256(*file) == MetadataSha256(*GgufFile::FromBytes(writer.Finish()).value()));
}

TEST_CASE("A missing or damaged part is named with its path", "[gguf]") {
  const Folder folder(ThreeParts());
  std::filesystem::remove(folder.dir.File(folder.Name(1)));
  CHECK_THAT(folder.Error(folder.Name(0)), ContainsSubstring("part 2 of 3") &&
                                               ContainsSubstring("m-00002-of-00003.gguf") &&
                                               ContainsSubstring("No such file"));
  REQUIRE(GgufFile::Open(folder.dir.File(folder.Name(0))).status().code() ==
          absl::StatusCode::kNotFound);
  folder.Write(folder.Name(1), ThreeParts()[1].substr(0, 50));
  CHECK_THAT(folder.Error(folder.Name(0)),
             ContainsSubstring("m-00002-of-00003.gguf") && ContainsSubstring("offset"));
}

TEST_CASE("Another part than the first, and another name, say what to open", "[gguf]") {
  const Folder folder(ThreeParts());
  CHECK_THAT(folder.Error(folder.Name(2)), ContainsSubstring("is part 3 of 3: open the first") &&
                                               ContainsSubstring("m-00001-of-00003.gguf"));
  folder.Write("renamed.gguf", ThreeParts()[0]);
  CHECK_THAT(folder.Error("renamed.gguf"),
             ContainsSubstring("must end with '-00001-of-00003.gguf'"));
}

TEST_CASE("Parts that do not belong together are refused", "[gguf]") {
  auto parts = ThreeParts();
  REQUIRE(ErrorOf(parts) == "no error");
  std::swap(parts[1], parts[2]);
  CHECK_THAT(ErrorOf(parts), ContainsSubstring("part 2 of 3: it says that it is part 3 of 3"));
  parts = ThreeParts();
  parts[2] = PartBytes({2, 4, 4, {3}});
  CHECK_THAT(ErrorOf(parts), ContainsSubstring("it says that it is part 3 of 4"));
  parts[2] = PartBytes({2, 3, 4, {3, 4}});
  CHECK_THAT(ErrorOf(parts), ContainsSubstring("'split.tensors.count' is 4") &&
                                 ContainsSubstring("have 5 tensors"));
  parts[2] = PartBytes({2, 3, 4, {0}});
  CHECK_THAT(ErrorOf(parts), ContainsSubstring("tensor 't0' is given twice"));
  CHECK_THAT(ErrorOf({PartBytes({5, 3, 1, {0}})}), ContainsSubstring("'split.no' is 5"));
  CHECK_THAT(ErrorOf({PartBytes({0, 1u << 30, 1, {0}})}), ContainsSubstring("'split.count'"));
  CHECK_THAT(ErrorOf({}), ContainsSubstring("no parts"));
  GgufWriter writer;
  writer.AddString("split.count", "three");
  CHECK_THAT(ErrorOf({writer.Finish()}), ContainsSubstring("split.count"));
}

TEST_CASE("A file whose split.count is one is a whole model under any name", "[gguf]") {
  const Folder folder({});
  folder.Write("whole.gguf", PartBytes({0, 1, 1, {7}, true}));
  REQUIRE(folder.Error("whole.gguf") == "no error");
}

}  // namespace
}  // namespace weft
