#include "libs/safetensors/checkpoint.h"

#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "libs/base/status.h"
#include "tests/support/catch.h"
#include "tests/support/safetensors_builder.h"

namespace weft {
namespace {

using test::SafetensorsBuilder;

// A folder that is gone after the test.
class Folder {
 public:
  Folder() {
    std::string name = (std::filesystem::temp_directory_path() / "weft_checkpoint_XXXXXX").string();
    WEFT_CHECK(::mkdtemp(name.data()) != nullptr);
    path_ = name;
  }
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;
  ~Folder() { std::filesystem::remove_all(path_); }

  void Write(const std::string& name, const std::string& bytes) const {
    std::ofstream(path_ / name, std::ios::binary) << bytes;
  }
  absl::StatusOr<std::shared_ptr<const SafetensorsCheckpoint>> Open() const {
    return SafetensorsCheckpoint::Open(path_.string());
  }
  std::string Error() const {
    const auto checkpoint = Open();
    return checkpoint.ok() ? "no error" : std::string(Message(checkpoint.status()));
  }

 private:
  std::filesystem::path path_;
};

std::string One(const std::string& name, const std::string& bytes) {
  return SafetensorsBuilder().Add(name, "U8", {static_cast<int64_t>(bytes.size())}, bytes).Finish();
}

constexpr char kIndex[] = "model.safetensors.index.json";

TEST_CASE("One file is a checkpoint", "[safetensors]") {
  Folder folder;
  CHECK_THAT(folder.Error(), ContainsSubstring("neither model.safetensors nor"));
  CHECK(folder.Open().status().code() == absl::StatusCode::kNotFound);
  folder.Write("model.safetensors", One("w", "abc"));
  const auto checkpoint = folder.Open();
  REQUIRE(checkpoint.ok());
  REQUIRE((*checkpoint)->shards().size() == 1);
  REQUIRE((*checkpoint)->Find("w") != nullptr);
  CHECK((*checkpoint)->Find("w")->bytes == 3);
  CHECK((*checkpoint)->Find("v") == nullptr);
}

TEST_CASE("Shards are found through the index", "[safetensors]") {
  Folder folder;
  folder.Write("m-1.safetensors", One("b", "one"));
  folder.Write(
      "m-2.safetensors",
      SafetensorsBuilder().Add("a", "U8", {4}, "four").Add("unnamed", "U8", {1}, "x").Finish());
  folder.Write("consolidated.safetensors", "nobody reads this");
  folder.Write(kIndex, R"({"metadata":{"total_size":7},
                           "weight_map":{"a":"m-2.safetensors","b":"m-1.safetensors"}})");
  const auto checkpoint = folder.Open();
  INFO(ToString(checkpoint.status()));
  REQUIRE(checkpoint.ok());
  CHECK((*checkpoint)->shards().size() == 2);
  REQUIRE((*checkpoint)->tensors().size() == 3);
  CHECK((*checkpoint)->tensors()[0]->name == "a");
  CHECK((*checkpoint)->Find("a")->bytes == 4);
  CHECK((*checkpoint)->Find("b")->data[0] == 'o');
}

TEST_CASE("An index that lies is refused", "[safetensors]") {
  Folder folder;
  folder.Write("m-1.safetensors", One("a", "x"));
  folder.Write("m-2.safetensors", One("a", "y"));
  const auto error = [&](const std::string& index) {
    folder.Write(kIndex, index);
    return folder.Error();
  };
  CHECK(error(R"({"weight_map":{"a":"m-1.safetensors"}})") == "no error");
  CHECK_THAT(error(R"({"weight_map":{"a":"m-1.safetensors","b":"m-1.safetensors"}})"),
             ContainsSubstring("tensor 'b' is not in shard 'm-1.safetensors'"));
  CHECK_THAT(error(R"({"weight_map":{"a":"m-3.safetensors"}})"),
             ContainsSubstring("m-3.safetensors"));
  CHECK_THAT(error("{"), ContainsSubstring(kIndex) && ContainsSubstring("not valid JSON"));
  CHECK_THAT(error("[]"), ContainsSubstring("weight_map"));
  CHECK_THAT(error(R"({"weight_map":[]})"), ContainsSubstring("weight_map"));
  CHECK_THAT(error(R"({"weight_map":{}})"), ContainsSubstring("is empty"));
  CHECK_THAT(error(R"({"weight_map":{"a":3}})"), ContainsSubstring("tensor 'a'"));
  for (const char* name : {"../m-1.safetensors", "/etc/passwd", "m-1", ".safetensors", "",
                           "a/m-1.safetensors", "m\\u0000.safetensors", "..safetensors"}) {
    CHECK_THAT(error(fmt::format(R"({{"weight_map":{{"a":"{}"}}}})", name)),
               ContainsSubstring("not the plain name"));
  }
}

TEST_CASE("A tensor in two shards is refused", "[safetensors]") {
  Folder folder;
  folder.Write("m-1.safetensors",
               SafetensorsBuilder().Add("a", "U8", {1}, "x").Add("b", "U8", {1}, "x").Finish());
  folder.Write("m-2.safetensors",
               SafetensorsBuilder().Add("b", "U8", {1}, "x").Add("c", "U8", {1}, "x").Finish());
  folder.Write(kIndex, R"({"weight_map":{"a":"m-1.safetensors","c":"m-2.safetensors"}})");
  CHECK_THAT(folder.Error(), ContainsSubstring("tensor 'b' is in two shards"));
}

}  // namespace
}  // namespace weft
