#include "libs/kube/config.h"

#include <filesystem>
#include <fstream>

#include "libs/base/status.h"
#include "libs/fetch/digest.h"
#include "libs/fetch/http_call.h"
#include "tests/support/catch.h"
#include "tests/support/temp_dir.h"

namespace weft::kube {
namespace {

std::string Config(const std::string& cluster, const std::string& user) {
  return "apiVersion: v1\nkind: Config\ncurrent-context: here\n"
         "contexts: [{name: here, context: {cluster: c, user: u, namespace: weft}},"
         " {name: other, context: {cluster: c, user: nobody}}]\n"
         "clusters: [{name: c, cluster: " +
         cluster + "}]\nusers: [{name: u, user: " + user + "}]\n";
}

std::string MessageOf(const absl::StatusOr<Access>& result) {
  REQUIRE(!result.ok());
  return std::string(Message(result.status()));
}

TEST_CASE("A kubeconfig gives server, namespace, authority and token", "[kube]") {
  const std::string ca = fetch::Base64("-----BEGIN CERTIFICATE-----\n");
  const auto access = ParseKubeconfig(
      Config("{server: 'https://10.0.0.1:6443/', certificate-authority-data: " + ca + "}",
             "{token: secret}"),
      "/", "");
  REQUIRE(access.ok());
  CHECK(access->server == "https://10.0.0.1:6443");
  CHECK(access->ca == "-----BEGIN CERTIFICATE-----\n");
  CHECK(access->token == "secret");
  CHECK(access->name_space == "weft");
  CHECK(access->verify);
}

TEST_CASE("Paths in a kubeconfig begin at its folder", "[kube]") {
  const test::TempDir folder;
  std::ofstream(folder.path() + "/client.pem") << "certificate";
  std::ofstream(folder.path() + "/client.key") << "key";
  std::ofstream(folder.path() + "/config")
      << Config("{server: 'https://h', insecure-skip-tls-verify: true}",
                "{client-certificate: client.pem, client-key: client.key}");
  const auto access = FindAccess({.file = folder.path() + "/config"});
  REQUIRE(access.ok());
  CHECK(access->certificate == "certificate");
  CHECK(access->key == "key");
  CHECK_FALSE(access->verify);
  std::filesystem::remove(folder.path() + "/client.key");
  CHECK_THAT(MessageOf(FindAccess({.file = folder.path() + "/config"})),
             ContainsSubstring("client-key") && ContainsSubstring("cannot read"));
}

TEST_CASE("What a kubeconfig lacks is named", "[kube]") {
  const std::string good = "{server: 'https://h'}";
  CHECK_THAT(MessageOf(ParseKubeconfig("[1, 2", "/", "")), ContainsSubstring("line"));
  CHECK_THAT(MessageOf(ParseKubeconfig("just text", "/", "")), ContainsSubstring("not a map"));
  CHECK_THAT(MessageOf(ParseKubeconfig("kind: Config", "/", "")),
             ContainsSubstring("current-context"));
  CHECK_THAT(MessageOf(ParseKubeconfig(Config(good, "{}"), "/", "absent")),
             ContainsSubstring("'absent'"));
  CHECK_THAT(MessageOf(ParseKubeconfig(Config(good, "{}"), "/", "other")),
             ContainsSubstring("'nobody'"));
  CHECK_THAT(MessageOf(ParseKubeconfig(Config("{server: 'ftp://h'}", "{}"), "/", "")),
             ContainsSubstring("ftp://h"));
  CHECK_THAT(MessageOf(ParseKubeconfig(
                 Config("{server: 'https://h', certificate-authority-data: '%'}", "{}"), "/", "")),
             ContainsSubstring("certificate-authority-data"));
  CHECK_THAT(MessageOf(ParseKubeconfig(Config(good, "{auth-provider: {name: gcp}}"), "/", "")),
             ContainsSubstring("auth-provider"));
}

TEST_CASE("A kubeconfig's program gives the token, and is told what it is for", "[kube]") {
  const test::TempDir folder;
  const std::string program = folder.path() + "/login";
  std::ofstream(program)
      << "#!/bin/sh\necho \"$KUBERNETES_EXEC_INFO\" > " << folder.path()
      << "/told\nprintf '{\"kind\":\"ExecCredential\",\"status\":{\"token\":\"%s-%s\"}}' \"$1\" "
         "\"$WHO\"\n";
  std::filesystem::permissions(program, std::filesystem::perms::owner_all);
  const std::string user =
      "{exec: {apiVersion: client.authentication.k8s.io/v1, command: " + program +
      ", args: [first], env: [{name: WHO, value: me}]}}";
  const auto access = ParseKubeconfig(Config("{server: 'https://h'}", user), "/", "");
  REQUIRE(access.ok());
  CHECK(access->token == "first-me");
  std::ifstream told(folder.path() + "/told");
  std::string info;
  std::getline(told, info);
  CHECK_THAT(info, ContainsSubstring("client.authentication.k8s.io/v1"));
  const auto failing =
      ParseKubeconfig(Config("{server: 'https://h'}", "{exec: {command: 'false'}}"), "/", "");
  CHECK_THAT(MessageOf(failing), ContainsSubstring("false failed"));
  const auto absent =
      ParseKubeconfig(Config("{server: 'https://h'}", "{exec: {command: weft-no-such}}"), "/", "");
  CHECK_THAT(MessageOf(absent), ContainsSubstring("weft-no-such"));
}

TEST_CASE("Only an ExecCredential with a token is one", "[kube]") {
  CHECK(*ParseExecCredential(R"({"status":{"token":"t"}})") == "t");
  for (const char* text : {"", "[]", "{}", R"({"status":1})", R"({"status":{"token":5}})"}) {
    CHECK(!ParseExecCredential(text).ok());
  }
}

TEST_CASE("Base64 is decoded only when it is whole", "[kube]") {
  for (const std::string text :
       {"", "a", "ab", "abc", "abcd", std::string("\0\xff\0", 3).c_str()}) {
    CHECK(fetch::Base64Decode(fetch::Base64(text)) == text);
  }
  CHECK(fetch::Base64Decode("YWJj\nZGVm\n") == "abcdef");
  for (const char* text : {"a", "abc", "a===", "====", "a=bc", "ab=c", "%%%%"}) {
    CHECK(!fetch::Base64Decode(text));
  }
}

TEST_CASE("A query's value is encoded", "[kube]") {
  CHECK(fetch::PercentEncoded("a=b,c/d {e}~") == "a%3Db%2Cc%2Fd%20%7Be%7D~");
}

}  // namespace
}  // namespace weft::kube
