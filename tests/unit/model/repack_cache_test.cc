// Repacked weights on disk: a second start maps them, and nothing that can lie in a file is
// trusted.
#include "libs/model/repack_cache.h"

#include <filesystem>
#include <fstream>

#include "libs/base/status.h"
#include "libs/gguf/gguf.h"
#include "tests/support/catch.h"
#include "tests/support/temp_dir.h"
#include "tests/unit/model/sequence_runner.h"
#include "tests/unit/model/tiny_model.h"

namespace weft {
namespace {

namespace fs = std::filesystem;
using test::LogitsInChunks;
using test::SameBits;
using test::TempDir;
using test::TinyModel;
using Kind = Model::RepackStatus::Kind;

const std::vector<int32_t> kTokens = {5, 4, 3, 299, 0, 17, 17, 250};

void WriteFile(const std::string& path, const std::string& bytes) {
  std::ofstream(path, std::ios::binary) << bytes;
}

std::string ReadFile(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

std::unique_ptr<Model> Load(const std::string& path, const std::string& folder,
                            uint64_t max_bytes = 1 << 30) {
  auto model = Model::Load(path, {.threads = 2, .repack_cache = {folder, max_bytes}});
  INFO(ToString(model.status()));
  REQUIRE(model.ok());
  return *std::move(model);
}

std::vector<float> Logits(Model& model) { return LogitsInChunks(model, kTokens, 8, 64); }

std::vector<std::string> FilesIn(const std::string& folder) {
  std::vector<std::string> out;
  for (const auto& entry : fs::directory_iterator(folder)) out.push_back(entry.path().string());
  return out;
}

TEST_CASE("A second start maps the repacked weights and gives the same bits", "[model][repack]") {
  TempDir dir;
  const std::string folder = dir.File("cache/of/weights");
  TinyModel tiny;
  tiny.type = GENERATE(DType::kQ4_K, DType::kQ6_K, DType::kQ8_0, DType::kQ5_0, DType::kBF16);
  tiny.tied = false;
  WriteFile(dir.File("m.gguf"), tiny.Bytes());
  const auto plain = Load(dir.File("m.gguf"), "");
  REQUIRE(plain->repack_status().kind == Kind::kOff);
  const auto first = Load(dir.File("m.gguf"), folder);
  INFO(ToString(first->repack_status().problem));
  REQUIRE(first->repack_status().kind == Kind::kMade);
  const auto second = Load(dir.File("m.gguf"), folder);
  REQUIRE(second->repack_status().kind == Kind::kMapped);
  REQUIRE(second->repack_status().path == FilesIn(folder).at(0));
  REQUIRE(second->weights_sha256() == plain->weights_sha256());
  REQUIRE(second->numerics_class() == plain->numerics_class());
  REQUIRE(second->memory_bytes() == plain->memory_bytes());
  const std::vector<float> expected = Logits(*plain);
  REQUIRE(SameBits(Logits(*first), expected));
  REQUIRE(SameBits(Logits(*second), expected));
}

TEST_CASE("Repacked weights of a model that changed are not used", "[model][repack]") {
  TempDir dir;
  const std::string folder = dir.File("cache");
  TinyModel tiny;
  WriteFile(dir.File("m.gguf"), tiny.Bytes());
  Load(dir.File("m.gguf"), folder);
  // The same bytes, another time of change: not looked at closely enough to be sure.
  fs::last_write_time(dir.File("m.gguf"), fs::file_time_type::clock::now() + std::chrono::hours(1));
  REQUIRE(Load(dir.File("m.gguf"), folder)->repack_status().kind == Kind::kMade);
  REQUIRE(Load(dir.File("m.gguf"), folder)->repack_status().kind == Kind::kMapped);
  tiny.rope_base = 5000.0f;
  WriteFile(dir.File("m.gguf"), tiny.Bytes());
  REQUIRE(Load(dir.File("m.gguf"), folder)->repack_status().kind == Kind::kMade);
}

TEST_CASE("A damaged file of repacked weights is refused and made again", "[model][repack]") {
  TempDir dir;
  const std::string folder = dir.File("cache");
  WriteFile(dir.File("m.gguf"), TinyModel().Bytes());
  const std::vector<float> expected = Logits(*Load(dir.File("m.gguf"), folder));
  const RepackKey key = RepackKeyOf(dir.File("m.gguf")).value();
  const std::string path = FilesIn(folder).at(0);
  const std::string good = ReadFile(path);
  const RepackIndex index = ParseRepackFile(good, key).value();
  REQUIRE(index.entries.size() > 10);
  const uint64_t head = index.entries[0].offset;

  // Every bit of the head counts, padding aside.
  const size_t body_end = SerializeRepackHeader(index, key).size();
  std::string bad = good;
  for (size_t at = 0; at < body_end; ++at) {
    bad[at] = static_cast<char>(bad[at] ^ (1 << (at % 8)));
    REQUIRE_FALSE(ParseRepackFile(bad, key).ok());
    bad[at] = good[at];
  }
  for (const size_t size : {size_t{0}, size_t{7}, size_t{79}, body_end - 1, body_end,
                            static_cast<size_t>(head), good.size() - 1}) {
    REQUIRE_FALSE(ParseRepackFile(std::string_view(good).substr(0, size), key).ok());
  }
  REQUIRE_FALSE(ParseRepackFile(good + "x", key).ok());
  RepackKey other = key;
  ++other[31];
  REQUIRE(ParseRepackFile(good, other).status().code() == absl::StatusCode::kFailedPrecondition);

  bad[100] = static_cast<char>(bad[100] ^ 1);
  WriteFile(path, bad);
  const auto repaired = Load(dir.File("m.gguf"), folder);
  REQUIRE(repaired->repack_status().kind == Kind::kMade);
  REQUIRE(Message(repaired->repack_status().problem).find("offset 48") != std::string::npos);
  REQUIRE(SameBits(Logits(*repaired), expected));
  REQUIRE(ReadFile(path) == good);
}

TEST_CASE("An index that lies about its matrices is refused, its checksum being right",
          "[model][repack]") {
  const RepackKey key{};
  RepackIndex index{std::string(64, 'a'), {}};
  index.entries.push_back({"w", DType::kQ8_0, 16, 32, cpu::Layout::kQ8, 0, 544});
  index.entries.push_back({"w", DType::kF16, 1, 3, cpu::Layout::kF16, 0, 96});
  const uint64_t bytes = index.Place();
  const auto parse = [&](const RepackIndex& changed) {
    std::string file = SerializeRepackHeader(changed, key);
    file.resize(bytes);
    return ParseRepackFile(file, key).ok();
  };
  REQUIRE(parse(index));
  const auto refused = [&](auto change) {
    RepackIndex changed = index;
    change(changed.entries[1]);
    return !parse(changed);
  };
  REQUIRE(refused([](RepackEntry& e) { e.rows = 17; }));
  REQUIRE(refused([](RepackEntry& e) { e.rows = -1; }));
  REQUIRE(refused([](RepackEntry& e) { e.cols = INT64_MAX; }));
  REQUIRE(refused([](RepackEntry& e) { e.bytes += 64; }));
  REQUIRE(refused([](RepackEntry& e) { e.offset += 64; }));
  REQUIRE(refused([](RepackEntry& e) { e.offset -= 64; }));
  REQUIRE(refused([](RepackEntry& e) { e.offset = UINT64_MAX - 8; }));
  REQUIRE(refused([](RepackEntry& e) { e.layout = cpu::Layout::kBF16; }));
  REQUIRE(refused([](RepackEntry& e) { e.layout = static_cast<cpu::Layout>(200); }));
  REQUIRE(refused([](RepackEntry& e) { e.type = static_cast<DType>(77); }));
}

TEST_CASE("The cache of repacked weights keeps to its bound and never fails a load",
          "[model][repack]") {
  TempDir dir;
  const std::string folder = dir.File("cache");
  TinyModel tiny;
  WriteFile(dir.File("a.gguf"), tiny.Bytes());
  tiny.rope_base = 5000.0f;
  WriteFile(dir.File("b.gguf"), tiny.Bytes());
  Load(dir.File("a.gguf"), folder);
  const std::string first = FilesIn(folder).at(0);
  const uint64_t size = fs::file_size(first);

  const auto tight = Load(dir.File("a.gguf"), dir.File("other"), size - 1);
  REQUIRE(tight->repack_status().kind == Kind::kFailed);
  REQUIRE(tight->repack_status().problem.code() == absl::StatusCode::kResourceExhausted);
  // What an earlier process left unfinished long ago goes too; another writer's does not.
  WriteFile(first + ".abcdef", "left");
  WriteFile(first + ".ghijkl", "being written");
  fs::last_write_time(first + ".abcdef", fs::file_time_type::clock::now() - std::chrono::hours(2));
  Load(dir.File("b.gguf"), folder, size);
  REQUIRE_FALSE(fs::exists(first));
  REQUIRE_FALSE(fs::exists(first + ".abcdef"));
  REQUIRE(fs::exists(first + ".ghijkl"));
  REQUIRE(FilesIn(folder).size() == 2);

  WriteFile(dir.File("no-folder"), "");
  const auto nowhere = Load(dir.File("a.gguf"), dir.File("no-folder"));
  REQUIRE(nowhere->repack_status().kind == Kind::kFailed);
  REQUIRE(Message(nowhere->repack_status().problem).find("no-folder") != std::string::npos);
  // Of a model in memory nothing is kept.
  const auto memory = Model::Load(GgufFile::FromBytes(tiny.Bytes()).value(),
                                  {.threads = 1, .repack_cache = {folder}});
  REQUIRE((*memory)->repack_status().kind == Kind::kOff);
}

TEST_CASE("The parts of a split model and the files of a folder name its repacked weights",
          "[model][repack]") {
  TempDir dir;
  for (const char* name : {"m-00001-of-00002.gguf", "m-00002-of-00002.gguf", "other.gguf"}) {
    WriteFile(dir.File(name), name);
  }
  const RepackKey split = RepackKeyOf(dir.File("m-00001-of-00002.gguf")).value();
  WriteFile(dir.File("other.gguf"), "changed");
  REQUIRE(RepackKeyOf(dir.File("m-00001-of-00002.gguf")).value() == split);
  WriteFile(dir.File("m-00002-of-00002.gguf"), "changed");
  REQUIRE(RepackKeyOf(dir.File("m-00001-of-00002.gguf")).value() != split);

  WriteFile(dir.File("config.json"), "{}");
  WriteFile(dir.File("model.safetensors"), "weights");
  const RepackKey folder = RepackKeyOf(dir.path()).value();
  WriteFile(dir.File("model.safetensors"), "other weights");
  REQUIRE(RepackKeyOf(dir.path()).value() != folder);
  REQUIRE_FALSE(RepackKeyOf(dir.File("nothing.gguf")).ok());
}

}  // namespace
}  // namespace weft
