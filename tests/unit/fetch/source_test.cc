// What is understood of locators, headers and manifests. Downloads themselves:
// tests/e2e/test_pull.py.
#include "libs/fetch/source.h"

#include <chrono>

#include "libs/base/status.h"
#include "libs/fetch/digest.h"
#include "libs/fetch/oci.h"
#include "tests/support/catch.h"

namespace weft::fetch {
namespace {

const std::string kSum(64, 'a');

std::string Manifest(const std::string& layers) {
  return R"({"schemaVersion":2,"layers":[)" + layers + "]}";
}

std::string Layer(const std::string& name, const std::string& more = "") {
  return fmt::format(
      R"({{"digest":"sha256:{}","size":7,"annotations":{{"org.opencontainers.image.title":"{}"{}}}}})",
      kSum, name, more);
}

TEST_CASE("A split file's first part names all of them", "[fetch]") {
  CHECK(PartsOf("m.gguf").value() == std::vector<std::string>{"m.gguf"});
  CHECK(PartsOf("m-00001-of-00002.gguf").value() ==
        std::vector<std::string>{"m-00001-of-00002.gguf", "m-00002-of-00002.gguf"});
  CHECK(PartsOf("-00001-of-00001.x").value().size() == 1);
  CHECK(PartsOf("m-0001-of-0002.gguf").value().size() == 1);
  for (const char* bad :
       {"m-00002-of-00003.gguf", "m-00001-of-00000.gguf", "m-00001-of-01001.gguf"}) {
    CHECK(PartsOf(bad).status().code() == absl::StatusCode::kInvalidArgument);
  }
}

TEST_CASE("No name leads out of the folder", "[fetch]") {
  for (const char* good : {"a", "a/b.c", "a..b", "a/b/.c"}) CHECK(CheckName(good).ok());
  for (const char* bad : {"", "/a", "../a", "a/../b", "a/..", ".", "..", ".hidden", "a//b", "a/./b",
                          "a\nb", "a\\b"}) {
    INFO(bad);
    CHECK_FALSE(CheckName(bad).ok());
  }
}

TEST_CASE("s3:// becomes a host of the bucket's own, or a path where there is none", "[fetch]") {
  SourceOptions options;
  options.aws_region = "eu-west-1";
  CHECK(Resolve("s3://models/a/m+1.gguf", options).value()[0].url ==
        "https://models.s3.eu-west-1.amazonaws.com/a/m%2B1.gguf");
  CHECK(Resolve("s3://my.models/m.gguf", options).value()[0].url ==
        "https://s3.eu-west-1.amazonaws.com/my.models/m.gguf");
  options.aws_endpoint = "http://minio:9000/";
  CHECK(Resolve("s3://models/m.gguf", options).value()[0].url == "http://minio:9000/models/m.gguf");
  options.aws_endpoint = "minio:9000";
  CHECK_FALSE(Resolve("s3://models/m.gguf", options).ok());
}

TEST_CASE("A reference to an artifact has a host, a name, and a tag or a digest", "[fetch]") {
  const OciReference tagged = ParseOciReference("oci://r.example:5000/a/b-c:v1.0").value();
  CHECK(tagged.host == "r.example:5000");
  CHECK(tagged.name == "a/b-c");
  CHECK(tagged.tag == "v1.0");
  CHECK(ParseOciReference("oci://r/a").value().tag == "latest");
  const OciReference exact = ParseOciReference("oci://[::1]:5000/a:t@sha256:" + kSum).value();
  CHECK(exact.tag.empty());
  CHECK(exact.digest == "sha256:" + kSum);
  for (const std::string bad : {"oci://r", "oci://r/", "oci://r/A", "oci://r/a:",
                                "oci://r/a@sha256:12", "oci://r/a b", "oci://r/../a"}) {
    INFO(bad);
    CHECK(ParseOciReference(bad).status().code() == absl::StatusCode::kInvalidArgument);
  }
}

TEST_CASE("A challenge's parameters may be quoted", "[fetch]") {
  const Challenge c =
      ParseChallenge(R"(Bearer realm="https://t/token",service="a, \"b\"",error=x)").value();
  CHECK(c.scheme == "bearer");
  CHECK(c.parameters.at("realm") == "https://t/token");
  CHECK(c.parameters.at("service") == R"(a, "b")");
  CHECK(c.parameters.at("error") == "x");
  CHECK(ParseChallenge("Basic").value().scheme == "basic");
  CHECK_FALSE(ParseChallenge("").ok());
  CHECK_FALSE(ParseChallenge(R"(Bearer realm="x)").ok());
}

TEST_CASE("A manifest's files are its layers with names", "[fetch]") {
  const auto layers =
      ParseManifest(Manifest(Layer("m.gguf") + "," + R"({"digest":"sha256:x"},)" + Layer("a/b")))
          .value();
  REQUIRE(layers.size() == 2);
  CHECK(layers[0].name == "m.gguf");
  CHECK(layers[0].sha256 == kSum);
  CHECK(layers[1].size == 7);
  const std::string packed = R"(,"io.deis.oras.content.unpack":"true")";
  for (
      const auto& [text, said] : std::vector<std::pair<std::string, std::string>>{
          {"[]", "no object"},
          {R"({"manifests":[]})", "an index"},
          {Manifest(R"({"digest":"sha256:x","size":1})"), "an image, not files"},
          {Manifest(Layer("../m")), "no name for a file"},
          {Manifest(Layer("a") + "," + Layer("a")), "two layers"},
          {Manifest(Layer("a", packed)), "packed folder"},
          {Manifest(
               R"({"size":1,"digest":"md5:1","annotations":{"org.opencontainers.image.title":"a"}})"),
           "sha256"}}) {
    const absl::Status status = ParseManifest(text).status();
    INFO(ToString(status));
    CHECK(Message(status).find(said) != std::string_view::npos);
  }
}

TEST_CASE("Docker's configuration names a registry in three ways", "[fetch]") {
  const std::string config =
      R"({"auths":{"https://r.example/v1/":{"auth":"YTpi"},"r:5000":{"username":"u","password":"p"}}})";
  CHECK(DockerAuth(config, "r.example").value() == "YTpi");
  CHECK(DockerAuth(config, "r:5000").value() == Base64("u:p"));
  CHECK(DockerAuth(config, "r").value().empty());
  CHECK(DockerAuth("{}", "r").value().empty());
  CHECK_FALSE(DockerAuth("{", "r").ok());
}

TEST_CASE("A content range is exact or not one", "[fetch]") {
  CHECK(ParseContentRange("bytes 5-9/10")->first == 5);
  CHECK(ParseContentRange("bytes */10")->total == 10);
  CHECK(ParseContentRange("bytes 0-0/*")->total == 0);
  for (const char* bad : {"", "bytes 9-5/10", "bytes 5-10/10", "bytes 5-9", "bytes -1-2/3",
                          "bytes */*", "bytes 99999999999999999999-1/2", "items 0-1/2"}) {
    INFO(bad);
    CHECK_FALSE(ParseContentRange(bad).has_value());
  }
}

TEST_CASE("Shown URLs hold no secret", "[fetch]") {
  CHECK(ShownUrl("https://user:pw@h/a?X-Amz-Signature=1#f") == "https://h/a");
  CHECK(ShownUrl("https://h/a@b") == "https://h/a@b");
}

TEST_CASE("A signature follows the time, the region, the path and the token", "[fetch]") {
  const S3Get get{"h", "/b/k", "eu-west-1"};
  const auto at = std::chrono::system_clock::from_time_t(1'700'000'000);
  const auto headers = SignS3Get(get, {"AK", "secret", ""}, at);
  CHECK(
      headers[0].starts_with("Authorization: AWS4-HMAC-SHA256 "
                             "Credential=AK/20231114/eu-west-1/s3/aws4_request,"
                             "SignedHeaders=host;x-amz-content-sha256;x-amz-date,Signature="));
  CHECK(headers[2] == "x-amz-date: 20231114T221320Z");
  const auto other = [&](S3Get g, AwsCredentials c, int later) {
    return SignS3Get(g, c, at + std::chrono::seconds(later))[0] != headers[0];
  };
  CHECK(other({"h", "/b/l", "eu-west-1"}, {"AK", "secret", ""}, 0));
  CHECK(other(get, {"AK", "secret", "t"}, 0));
  CHECK(other(get, {"AK", "secret2", ""}, 0));
  CHECK(other(get, {"AK", "secret", ""}, 1));
  for (const auto& header : headers) CHECK(header.find("secret") == std::string::npos);
}

}  // namespace
}  // namespace weft::fetch
