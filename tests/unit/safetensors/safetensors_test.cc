// Files as other tools write them, and files that lie: each of those is refused with the tensor and
// the field.
#include "libs/safetensors/safetensors.h"

#include <unistd.h>

#include <cstdio>
#include <cstring>
#include <filesystem>
#include <fstream>

#include "libs/base/status.h"
#include "tests/support/catch.h"
#include "tests/support/safetensors_builder.h"

namespace weft {
namespace {

using test::SafetensorsBuilder;
using test::SafetensorsBytes;

std::string Error(std::string bytes, const SafetensorsLimits& limits = {}) {
  const auto file = SafetensorsFile::FromBytes(std::move(bytes), limits);
  return file.ok() ? "no error" : std::string(Message(file.status()));
}

// One tensor "w" with these fields and 16 bytes of data.
std::string ErrorOfTensor(const std::string& fields) {
  return Error(SafetensorsBytes("{\"w\":{" + fields + "}}", std::string(16, 'x')));
}

TEST_CASE("Tensors are found with their type, shape and bytes", "[safetensors]") {
  const std::string bytes = SafetensorsBuilder()
                                .Add("b", "F32", {2, 1}, std::string("\0\0\x80\x3f\0\0\0\x40", 8))
                                .Add("a", "BF16", {3}, "abcdef")
                                .Add("scale", "F8_E4M3", {}, "7")
                                .Add("ids", "I64", {1}, "01234567")
                                .Add("none", "F16", {0, 5}, "")
                                .Finish();
  const auto file = SafetensorsFile::FromBytes(bytes);
  INFO(ToString(file.status()));
  REQUIRE(file.ok());
  REQUIRE((*file)->tensors().size() == 5);
  CHECK((*file)->contents() == bytes);
  CHECK((*file)->Find("c") == nullptr);
  const SafetensorsFile::Tensor* b = (*file)->Find("b");
  REQUIRE(b != nullptr);
  CHECK(b->dtype == "F32");
  CHECK(b->type == DType::kF32);
  CHECK(b->shape == std::vector<int64_t>{2, 1});
  CHECK(b->bytes == 8);
  float value = 0;
  std::memcpy(&value, b->data + 4, 4);
  CHECK(value == 2.0f);
  const SafetensorsFile::Tensor* a = (*file)->Find("a");
  REQUIRE(a != nullptr);
  CHECK(std::string_view(reinterpret_cast<const char*>(a->data), a->bytes) == "abcdef");
  CHECK(a->type == DType::kBF16);
  CHECK((*file)->Find("scale")->type == DType::kF8E4M3);
  CHECK((*file)->Find("scale")->elements == 1);
  CHECK_FALSE((*file)->Find("ids")->type.has_value());
  CHECK((*file)->Find("none")->elements == 0);
}

TEST_CASE("Metadata are pairs of strings", "[safetensors]") {
  const auto file = SafetensorsFile::FromBytes(
      SafetensorsBytes(R"({"__metadata__":{"format":"pt","a":"b"}}   )"));
  REQUIRE(file.ok());
  REQUIRE((*file)->metadata().size() == 2);
  CHECK((*file)->metadata()[1] == std::pair<std::string, std::string>("format", "pt"));
  CHECK_THAT(Error(SafetensorsBytes(R"({"__metadata__":{"a":1}})")),
             ContainsSubstring("__metadata__ 'a': expected a string, found number"));
  CHECK_THAT(Error(SafetensorsBytes(R"({"__metadata__":[]})")),
             ContainsSubstring("__metadata__: expected an object"));
}

TEST_CASE("A file cut at any byte is refused", "[safetensors]") {
  const std::string whole =
      SafetensorsBuilder().Add("w", "F32", {2}, "01234567").Add("v", "F16", {1}, "ab").Finish();
  REQUIRE(SafetensorsFile::FromBytes(whole).ok());
  for (size_t size = 0; size < whole.size(); ++size) {
    INFO("cut to " << size << " bytes");
    CHECK_THAT(Error(whole.substr(0, size)), ContainsSubstring("truncated?"));
  }
  CHECK_THAT(Error(whole + "x"), ContainsSubstring("1 bytes that belong to no tensor"));
}

TEST_CASE("The header's length is proven before it is used", "[safetensors]") {
  std::string bytes = SafetensorsBytes("{}");
  for (const uint64_t length : {UINT64_MAX, UINT64_MAX - 7, uint64_t{100'000'001}}) {
    std::memcpy(bytes.data(), &length, 8);
    CHECK_THAT(Error(bytes), ContainsSubstring("header length at offset 0") &&
                                 ContainsSubstring("the limit is 100000000"));
  }
  const uint64_t length = 3;
  std::memcpy(bytes.data(), &length, 8);
  CHECK_THAT(Error(bytes), ContainsSubstring("ends beyond the file"));
  CHECK_THAT(Error(std::string("GGUF\3\0\0\0\0\0\0\0", 12)), ContainsSubstring("not safetensors?"));
  CHECK_THAT(Error(SafetensorsBytes("")), ContainsSubstring("does not begin with '{'"));
  CHECK_THAT(Error(SafetensorsBytes(" {}")), ContainsSubstring("does not begin with '{'"));
}

TEST_CASE("A header that is not strict JSON is refused", "[safetensors]") {
  CHECK_THAT(Error(SafetensorsBytes("{\"a\":")), ContainsSubstring("not valid JSON"));
  CHECK_THAT(Error(SafetensorsBytes(R"({"w":{"dtype":"F32","dtype":"F16"}})")),
             ContainsSubstring("\"dtype\" is there twice"));
  CHECK_THAT(Error(SafetensorsBytes(R"({"w":{},"w":{}})")),
             ContainsSubstring("\"w\" is there twice"));
  CHECK_THAT(Error(SafetensorsBytes("{\"a\":" + std::string(100000, '['))),
             ContainsSubstring("nested deeper"));
  CHECK_THAT(Error(SafetensorsBytes("{\"a\xff\":{}}")), ContainsSubstring("UTF-8"));
}

TEST_CASE("Every field of a tensor is checked and named", "[safetensors]") {
  const std::string type = R"("dtype":"F32",)";
  const std::string shape = R"("shape":[4],)";
  const std::string offsets = R"("data_offsets":[0,16])";
  REQUIRE(ErrorOfTensor(type + shape + offsets) == "no error");
  for (const auto& [fields, part] : std::vector<std::pair<std::string, std::string>>{
           {shape + offsets, "field 'dtype' is missing"},
           {type + offsets, "field 'shape' is missing"},
           {type + R"("shape":[4])", "field 'data_offsets' is missing"},
           {type + shape + offsets + R"(,"stride":[1])", "unknown field 'stride'"},
           {R"("dtype":"F31",)" + shape + offsets, "dtype: 'F31' is not a type"},
           {R"("dtype":7,)" + shape + offsets, "dtype: expected a string"},
           {type + R"("shape":4,)" + offsets, "shape: expected an array"},
           {type + R"("shape":[-4],)" + offsets, "shape[0]: expected a whole number"},
           {type + R"("shape":[4.0],)" + offsets, "shape[0]: expected a whole number"},
           {type + R"("shape":["4"],)" + offsets, "shape[0]: expected a whole number"},
           {type + R"("shape":[18446744073709551615],)" + offsets, "shape[0]"},
           {type + R"("shape":[1,1,1,1,1,1,1,1,4],)" + offsets, "9 dimensions"},
           {type + R"("shape":[4294967296,4294967296],)" + offsets, "does not fit 63 bits"},
           {type + R"("shape":[4611686018427387904],)" + offsets, "4611686018427387904 elements"},
           {type + R"("shape":[5],)" + offsets, "5 elements of F32 need 20"},
           {R"("dtype":"F16",)" + shape + offsets, "4 elements of F16 need 8"},
           {type + shape + R"("data_offsets":[0])", "data_offsets: expected two"},
           {type + shape + R"("data_offsets":[-1,15])", "data_offsets: expected two"},
           {type + shape + R"("data_offsets":[16,0])", "[16, 0) is not inside"},
           {type + shape + R"("data_offsets":[8,24])", "[8, 24) is not inside the 16 bytes"},
           {type + shape + R"("data_offsets":[18446744073709551600,16])", "is not inside"},
       }) {
    const std::string error = ErrorOfTensor(fields);
    CHECK_THAT(error, ContainsSubstring(part));
    CHECK_THAT(error, ContainsSubstring("tensor 'w'"));
  }
  CHECK_THAT(Error(SafetensorsBytes(R"({"w":[]})")), ContainsSubstring("expected an object"));
  CHECK_THAT(
      Error(SafetensorsBytes("{\"\":{" + type + shape + offsets + "}}", std::string(16, 'x'))),
      ContainsSubstring("name: expected 1 to 1024 bytes"));
}

TEST_CASE("Overlaps and holes are refused", "[safetensors]") {
  const auto two = [](int a, int a_end, int b, int b_end) {
    return Error(SafetensorsBytes(
        fmt::format(R"({{"a":{{"dtype":"U8","shape":[{}],"data_offsets":[{},{}]}},)"
                    R"("b":{{"dtype":"U8","shape":[{}],"data_offsets":[{},{}]}}}})",
                    a_end - a, a, a_end, b_end - b, b, b_end),
        std::string(8, 'x')));
  };
  CHECK(two(0, 4, 4, 8) == "no error");
  CHECK(two(4, 8, 0, 4) == "no error");
  CHECK(two(0, 8, 0, 0) == "no error");
  CHECK_THAT(two(0, 5, 4, 8), ContainsSubstring("tensor 'b'") && ContainsSubstring("overlap"));
  CHECK_THAT(two(0, 8, 0, 8), ContainsSubstring("overlap"));
  CHECK_THAT(two(0, 3, 4, 8), ContainsSubstring("tensor 'b'") && ContainsSubstring("hole"));
  CHECK_THAT(two(1, 4, 4, 8), ContainsSubstring("tensor 'a'") && ContainsSubstring("hole"));
  CHECK_THAT(two(0, 4, 4, 7), ContainsSubstring("1 bytes that belong to no tensor"));
}

TEST_CASE("Limits hold and hostile names do not reach messages", "[safetensors]") {
  SafetensorsBuilder many;
  for (int i = 0; i < 5; ++i) many.Add("t" + std::to_string(i), "U8", {1}, "x");
  CHECK_THAT(Error(many.Finish(), {.max_tensors = 4}), ContainsSubstring("the limit is 4"));
  CHECK_THAT(Error(SafetensorsBytes("{    }"), {.max_header_bytes = 5}),
             ContainsSubstring("the limit is 5"));
  const std::string error = Error(SafetensorsBytes("{\"a\\u001b[31m\\n\":7}"));
  CHECK_THAT(error, ContainsSubstring("tensor 'a?[31m?'"));
}

TEST_CASE("A file is opened by path and errors name it", "[safetensors]") {
  const auto path = std::filesystem::temp_directory_path() /
                    ("weft_safetensors_" + std::to_string(::getpid()) + ".safetensors");
  std::ofstream(path, std::ios::binary)
      << SafetensorsBuilder().Add("w", "F32", {2}, "01234567").Finish();
  {
    const auto file = SafetensorsFile::Open(path.string());
    REQUIRE(file.ok());
    CHECK((*file)->Find("w")->data[7] == '7');
  }
  std::ofstream(path, std::ios::binary) << "short";
  CHECK_THAT(std::string(Message(SafetensorsFile::Open(path.string()).status())),
             ContainsSubstring(path.string()));
  std::filesystem::remove(path);
  CHECK(SafetensorsFile::Open(path.string()).status().code() == absl::StatusCode::kNotFound);
  CHECK_THAT(std::string(Message(SafetensorsFile::Open("/").status())),
             ContainsSubstring("not a regular file"));
}

}  // namespace
}  // namespace weft
