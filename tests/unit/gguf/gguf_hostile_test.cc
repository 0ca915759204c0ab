// Files that lie: each is refused with the field and its offset, and without a large allocation.
#include <cstring>

#include "libs/base/status.h"
#include "libs/gguf/gguf.h"
#include "libs/gguf/gguf_writer.h"
#include "tests/support/catch.h"

namespace weft {
namespace {

template <typename T>
void Put(std::string& out, T value) {
  out.append(reinterpret_cast<const char*>(&value), sizeof(value));
}

std::string Header(uint32_t version, uint64_t tensors, uint64_t entries) {
  std::string out = "GGUF";
  Put(out, version);
  Put(out, tensors);
  Put(out, entries);
  return out;
}

void PutText(std::string& out, std::string_view text) {
  Put<uint64_t>(out, text.size());
  out += text;
}

std::string Error(std::string bytes) {
  const auto file = GgufFile::FromBytes(std::move(bytes));
  return file.ok() ? "no error" : std::string(Message(file.status()));
}

std::string WithTensor(uint32_t type, std::vector<int64_t> dims, std::string_view data,
                       uint64_t alignment = 32) {
  GgufWriter writer(alignment);
  if (alignment != 32) writer.AddUint32("general.alignment", static_cast<uint32_t>(alignment));
  writer.AddTensor("w", type, dims, data);
  return writer.Finish();
}

TEST_CASE("A file cut at any byte is refused and names an offset", "[gguf]") {
  const std::string data(34, 'd');
  GgufWriter writer;
  writer.AddString("general.architecture", "llama");
  writer.AddStringArray("tokens", std::vector<std::string>{"a", "bc"});
  writer.AddBool("flag", true);
  writer.AddTensor("w", 8, std::vector<int64_t>{32}, data);
  const std::string whole = writer.Finish();
  REQUIRE(GgufFile::FromBytes(whole).ok());
  for (size_t size = 0; size < whole.size(); ++size) {
    INFO("cut to " << size << " bytes");
    CHECK_THAT(Error(whole.substr(0, size)), ContainsSubstring("offset"));
  }
}

TEST_CASE("Magic and version are checked", "[gguf]") {
  CHECK_THAT(Error("GGML" + Header(3, 0, 0).substr(4)), ContainsSubstring("not a GGUF file"));
  CHECK_THAT(Error(Header(1, 0, 0)), ContainsSubstring("version 1 (at offset 4) is not supported"));
  CHECK_THAT(Error(Header(4, 0, 0)), ContainsSubstring("version 4"));
  CHECK_THAT(Error(Header(0x03000000, 0, 0)), ContainsSubstring("big-endian"));
  CHECK(GgufFile::FromBytes(Header(2, 0, 0)).ok());
  CHECK(GgufFile::FromBytes(Header(3, 0, 0)).ok());
}

TEST_CASE("Counts are proven by the file size before anything is allocated", "[gguf]") {
  CHECK_THAT(Error(Header(3, 1000000, 0)),
             ContainsSubstring("tensor count at offset 8 is 1000000"));
  CHECK_THAT(Error(Header(3, 0, 60000)), ContainsSubstring("metadata count at offset 16 is 60000"));
  CHECK_THAT(Error(Header(3, UINT64_MAX, 0)), ContainsSubstring("the limit is"));
  CHECK_THAT(Error(Header(3, 0, UINT64_MAX)), ContainsSubstring("the limit is"));
  std::string array = Header(3, 0, 1);
  PutText(array, "tokens");
  Put<uint32_t>(array, 9);
  Put<uint32_t>(array, 8);
  Put<uint64_t>(array, 1ull << 61);  // times 8 would overflow to 0
  CHECK_THAT(Error(array), ContainsSubstring("metadata 'tokens'") &&
                               ContainsSubstring("array count at offset 46"));
}

TEST_CASE("String lengths are checked", "[gguf]") {
  std::string key = Header(3, 0, 1);
  Put<uint64_t>(key, 1ull << 40);
  key.resize(100, 'k');
  CHECK_THAT(Error(key), ContainsSubstring("length of metadata key at offset 24 is 1099511627776"));
  std::string value = Header(3, 0, 1);
  PutText(value, "name");
  Put<uint32_t>(value, 8);
  Put<uint64_t>(value, UINT64_MAX);
  CHECK_THAT(Error(value),
             ContainsSubstring("metadata 'name'") && ContainsSubstring("at offset 40"));
  std::string empty = Header(3, 0, 1);
  PutText(empty, "");
  empty.resize(100);
  CHECK_THAT(Error(empty), ContainsSubstring("metadata key 0 at offset 24 is empty"));
}

TEST_CASE("Value types and bools are checked", "[gguf]") {
  std::string type = Header(3, 0, 1);
  PutText(type, "k");
  Put<uint32_t>(type, 13);
  Put<uint64_t>(type, 0);
  CHECK_THAT(Error(type), ContainsSubstring("type at offset 33 is 13"));
  std::string boolean = Header(3, 0, 1);
  PutText(boolean, "k");
  Put<uint32_t>(boolean, 7);
  boolean += '\2';
  CHECK_THAT(Error(boolean), ContainsSubstring("bool at offset 37 is 2"));
}

TEST_CASE("Arrays may nest only so deep", "[gguf]") {
  std::string file = Header(3, 0, 1);
  PutText(file, "deep");
  Put<uint32_t>(file, 9);
  for (int i = 0; i < 100000; ++i) {
    Put<uint32_t>(file, 9);
    Put<uint64_t>(file, 1);
  }
  Put<uint32_t>(file, 0);
  Put<uint64_t>(file, 0);
  CHECK_THAT(Error(file),
             ContainsSubstring("metadata 'deep'") && ContainsSubstring("nest too deep"));
  std::string shallow = Header(3, 0, 1);
  PutText(shallow, "ok");
  Put<uint32_t>(shallow, 9);
  Put<uint32_t>(shallow, 9);
  Put<uint64_t>(shallow, 2);
  for (int i = 0; i < 2; ++i) {
    Put<uint32_t>(shallow, 5);
    Put<uint64_t>(shallow, 1);
    Put<int32_t>(shallow, 40 + i);
  }
  const auto file2 = GgufFile::FromBytes(shallow).value();
  CHECK(Describe(*file2->Find("ok")) == "[[40], [41]]");
}

TEST_CASE("A key or a tensor that is given twice is refused", "[gguf]") {
  GgufWriter keys;
  keys.AddUint32("a", 1);
  keys.AddUint32("b", 1);
  keys.AddUint32("a", 2);
  CHECK_THAT(Error(keys.Finish()), ContainsSubstring("metadata 'a' is given twice"));
  GgufWriter tensors;
  const std::string data(32, 'x');
  tensors.AddTensor("t", 0, std::vector<int64_t>{1}, data);
  tensors.AddTensor("t", 0, std::vector<int64_t>{1}, data);
  CHECK_THAT(Error(tensors.Finish()), ContainsSubstring("tensor 't' is given twice"));
}

TEST_CASE("Tensor shapes, types and places are checked", "[gguf]") {
  const std::string data(64, 'x');
  CHECK(GgufFile::FromBytes(WithTensor(0, {16}, data)).ok());
  CHECK_THAT(Error(WithTensor(0, {17}, data)),
             ContainsSubstring("tensor 'w'") && ContainsSubstring("beyond the file"));
  CHECK_THAT(Error(WithTensor(0, {0}, data)), ContainsSubstring("dimension 0 at offset 37 is 0"));
  CHECK_THAT(Error(WithTensor(0, {-1}, data)), ContainsSubstring("dimension 0"));
  CHECK_THAT(Error(WithTensor(0, {1ll << 32, 1ll << 32}, data)), ContainsSubstring("dimension 1"));
  CHECK_THAT(Error(WithTensor(0, {1ll << 62}, data)), ContainsSubstring("does not fit 64 bits"));
  CHECK_THAT(Error(WithTensor(0, {}, data)),
             ContainsSubstring("number of dimensions at offset 33 is 0"));
  CHECK_THAT(Error(WithTensor(0, {1, 1, 1, 1, 1}, data)),
             ContainsSubstring("is 5: it must be 1 to 4"));
  CHECK_THAT(Error(WithTensor(8, {33}, data)),
             ContainsSubstring("not a multiple of the block size 32"));
  CHECK_THAT(Error(WithTensor(9999, {32}, data)), ContainsSubstring("9999, which is not a known"));
}

TEST_CASE("Overlapping or misaligned tensors are refused", "[gguf]") {
  const std::string data(64, 'x');
  GgufWriter writer;
  writer.AddTensor("a", 0, std::vector<int64_t>{16}, data);
  writer.AddTensor("b", 0, std::vector<int64_t>{16}, data);
  std::string file = writer.Finish();
  // The offset field of b is the last field before the data; move it onto a.
  const size_t field = 24 + 2 * (8 + 1 + 4 + 8 + 4 + 8) - 8;
  std::string overlap = file;
  const uint64_t half = 32;
  std::memcpy(overlap.data() + field, &half, 8);
  CHECK_THAT(Error(overlap),
             ContainsSubstring("tensor 'b'") && ContainsSubstring("overlaps tensor 'a'"));
  const uint64_t odd = 33;
  std::memcpy(file.data() + field, &odd, 8);
  CHECK_THAT(Error(file), ContainsSubstring("not a multiple of the alignment 32"));
  const uint64_t huge = UINT64_MAX - 31;
  std::memcpy(file.data() + field, &huge, 8);
  CHECK_THAT(Error(file), ContainsSubstring("beyond the file"));
}

TEST_CASE("The alignment must be a sane power of two", "[gguf]") {
  const std::string data(64, 'x');
  CHECK(GgufFile::FromBytes(WithTensor(0, {16}, data, 64)).ok());
  for (const uint64_t bad : {0u, 1u, 7u, 48u, 1u << 31}) {
    GgufWriter writer;
    writer.AddUint32("general.alignment", static_cast<uint32_t>(bad));
    CHECK_THAT(Error(writer.Finish()), ContainsSubstring("general.alignment"));
  }
}

}  // namespace
}  // namespace weft
