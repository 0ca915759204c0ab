#include <chrono>
#include <map>
#include <string>
#include <vector>

#include "libs/base/status.h"
#include "libs/config/schema.h"
#include "tests/support/catch.h"

namespace weft::config {
namespace {

using std::chrono::milliseconds;
using std::chrono::nanoseconds;

enum class Policy { kOff, kBlock };

struct ModelEntry {
  std::string id;
  int replicas = 1;
};

struct Settings {
  int batch = 8;
  uint16_t port = 8080;
  double ratio = 0.5;
  float share = 0.1F;
  bool strict = false;
  std::string name = "default";
  std::string token;
  Policy policy = Policy::kOff;
  milliseconds wait{50};
  uint64_t memory = 64 << 20;
  std::vector<std::string> workers = {"a", "b"};
  std::map<std::string, std::string> attributes;
  std::vector<ModelEntry> models;
  std::string certificate;
};

void Bind(Binder& b, Settings& s) {
  b.Int("batch", &s.batch, 1, 256, "sequences in a step");
  b.Int("port", &s.port, 0, 65535, "port");
  b.Float("ratio", &s.ratio, 0, 1, "ratio");
  b.Float("share", &s.share, 0, 1, "share");
  b.Bool("strict", &s.strict, "strictness");
  b.Text("name", &s.name, "a name", 1, 32);
  b.Secret("token", &s.token, "a secret");
  b.Choice("policy", &s.policy, {{"off", Policy::kOff}, {"block", Policy::kBlock}},
           "policy | kind");
  b.Duration("wait", &s.wait, nanoseconds(0), std::chrono::seconds(10), "waiting time");
  b.Bytes("memory", &s.memory, 1 << 20, uint64_t{1} << 40, "memory");
  b.List("workers", &s.workers, 3, "addresses");
  b.Map("attributes", &s.attributes, 2, "attributes");
  b.Objects<ModelEntry>("models", &s.models, 2, "models", [](Binder& e, ModelEntry& m) {
    e.Text("id", &m.id, "name", 1);
    e.Int("replicas", &m.replicas, 1, 9, "copies");
  });
  b.Section("tls", "transport security",
            [&](Binder& tls) { tls.Text("certificate", &s.certificate, "file"); });
}

struct Fixture {
  Settings settings;
  Schema schema;

  Fixture() {
    schema.Section("gateway", "The gateway.", [&](Binder& b) { Bind(b, settings); });
  }
  std::string Load(const std::string& text,
                   std::vector<std::pair<std::string, std::string>> environment = {},
                   std::vector<std::string> sets = {}) {
    return std::string(Message(schema.Load({.file = "weft.yaml",
                                            .text = text,
                                            .environment = std::move(environment),
                                            .sets = std::move(sets)})));
  }
};

TEST_CASE("Schema keeps the struct's defaults when nothing is set", "[config]") {
  Fixture f;
  REQUIRE(f.Load("") == "");
  REQUIRE(f.settings.batch == 8);
  REQUIRE(f.settings.workers == std::vector<std::string>{"a", "b"});
}

TEST_CASE("Schema reads every kind of key from the file", "[config]") {
  Fixture f;
  REQUIRE(f.Load(R"(
gateway:
  batch: 16
  port: 0
  ratio: 0.25
  share: 1
  strict: true
  name: "8"
  token: hunter2
  policy: block
  wait: 1s500ms
  memory: 1.5GiB
  workers: [x]
  attributes: {region: eu}
  models:
    - id: small
    - {id: big, replicas: 2}
  tls:
    certificate: cert.pem
worker:
  whatever: is not ours
)") == "");
  REQUIRE(f.settings.batch == 16);
  REQUIRE(f.settings.port == 0);
  REQUIRE(f.settings.ratio == 0.25);
  REQUIRE(f.settings.strict);
  REQUIRE(f.settings.name == "8");
  REQUIRE(f.settings.policy == Policy::kBlock);
  REQUIRE(f.settings.wait == milliseconds(1500));
  REQUIRE(f.settings.memory == uint64_t{3} << 29);
  REQUIRE(f.settings.workers == std::vector<std::string>{"x"});
  REQUIRE(f.settings.attributes.at("region") == "eu");
  REQUIRE(f.settings.models.size() == 2);
  REQUIRE(f.settings.models[1].replicas == 2);
  REQUIRE(f.settings.certificate == "cert.pem");
}

TEST_CASE("Schema names file, line, key and range in an error", "[config]") {
  const auto [text, expected] = GENERATE(table<std::string, std::string>({
      {"gateway:\n  batch: 0\n",
       "weft.yaml:2: gateway.batch: expected an integer from 1 to 256, got \"0\""},
      {"gateway:\n  batch: \"8\"\n",
       "weft.yaml:2: gateway.batch: expected an integer from 1 to 256, got the text \"8\""},
      {"gateway:\n  batch: 99999999999999999999\n", "expected an integer from 1 to 256"},
      {"gateway:\n\n  batch: [1]\n", "weft.yaml:3: gateway.batch: expected an integer"},
      {"gateway:\n  batch:\n", "gateway.batch: expected an integer from 1 to 256, got nothing"},
      {"gateway:\n  ratio: nan\n", "expected a number from 0 to 1"},
      {"gateway:\n  strict: yes\n", "expected true or false, got \"yes\""},
      {"gateway:\n  name: ''\n", "expected text of 1 to 32 bytes, got 0"},
      {"gateway:\n  policy: blok\n", "expected one of: off, block, got \"blok\""},
      {"gateway:\n  wait: 50\n", "'50' has no unit"},
      {"gateway:\n  wait: 11s\n", "expected a duration from 0s to 10s"},
      {"gateway:\n  wait: 1us\n", "finer than its resolution of 1ms"},
      {"gateway:\n  memory: 1KiB\n", "expected a size from 1MiB to 1TiB"},
      {"gateway:\n  workers: [a, b, c, d]\n", "4 items, at most 3 are allowed"},
      {"gateway:\n  workers: [[a]]\n", "expected text in the list, got a list"},
      {"gateway:\n  attributes: [a]\n", "expected a map of text, got a list"},
      {"gateway:\n  models:\n    - id: a\n      replicas: 10\n",
       "weft.yaml:4: gateway.models[0].replicas: expected an integer from 1 to 9"},
      {"gateway:\n  tls: yes\n", "gateway.tls: expected a section"},
      {"gateway: [1]\n", "weft.yaml:1: gateway: expected a section, got a list"},
      {"- a\n", "expected sections, got a list"},
  }));
  Fixture f;
  const std::string error = f.Load(text);
  INFO(error);
  REQUIRE(error.find(expected) != std::string::npos);
}

TEST_CASE("Schema refuses unknown keys and suggests the nearest", "[config]") {
  const auto [text, expected] = GENERATE(table<std::string, std::string>({
      {"gateway:\n  bach: 1\n", "weft.yaml:2: gateway.bach: unknown key; did you mean 'batch'?"},
      {"gateway:\n  tls:\n    certficate: a\n",
       "weft.yaml:3: gateway.tls.certficate: unknown key; did you mean 'certificate'?"},
      {"gatewy:\n  a: 1\n", "weft.yaml:1: gatewy: unknown section; did you mean 'gateway'?"},
      {"zzz: 1\n", "the sections are gateway, scheduler"},
      {"gateway:\n  qqqqqqqqqq: 1\n", "gateway.qqqqqqqqqq: unknown key"},
  }));
  Fixture f;
  const std::string error = f.Load(text);
  INFO(error);
  REQUIRE(error.find(expected) != std::string::npos);
}

TEST_CASE("Schema reports all errors at once", "[config]") {
  Fixture f;
  const std::string error = f.Load("gateway:\n  batch: 0\n  port: -1\n", {}, {"gateway.nme=x"});
  REQUIRE(std::count(error.begin(), error.end(), '\n') == 2);
}

TEST_CASE("Schema lets --set win over the environment and that over the file", "[config]") {
  Fixture f;
  REQUIRE(f.Load("gateway: {batch: 2, port: 2, ratio: 0.2}",
                 {{"WEFT_GATEWAY_PORT", "3"}, {"WEFT_GATEWAY_RATIO", "0.3"}},
                 {"gateway.ratio=0.4"}) == "");
  REQUIRE(f.settings.batch == 2);
  REQUIRE(f.settings.port == 3);
  REQUIRE(f.settings.ratio == 0.4);
}

TEST_CASE("Schema takes lists, maps and nested keys from the environment", "[config]") {
  Fixture f;
  REQUIRE(f.Load("", {{"WEFT_GATEWAY_WORKERS", "x,y"},
                      {"WEFT_GATEWAY_ATTRIBUTES", "{a: b}"},
                      {"WEFT_GATEWAY_MODELS", "[{id: m, replicas: 3}]"},
                      {"WEFT_GATEWAY_TLS_CERTIFICATE", "c"},
                      {"WEFT_HOME", "/somewhere"},
                      {"WEFT_WORKER_BATCH", "not ours"}}) == "");
  REQUIRE(f.settings.workers == std::vector<std::string>{"x", "y"});
  REQUIRE(f.settings.attributes.at("a") == "b");
  REQUIRE(f.settings.models.at(0).replicas == 3);
  REQUIRE(f.settings.certificate == "c");
}

TEST_CASE("Schema refuses an unknown variable but not Kubernetes' service links", "[config]") {
  Fixture f;
  REQUIRE(f.Load("", {{"WEFT_GATEWAY_BATHC", "3"}})
              .find("environment WEFT_GATEWAY_BATHC: no such key; did you mean "
                    "WEFT_GATEWAY_BATCH?") != std::string::npos);
  REQUIRE(f.Load("", {{"WEFT_GATEWAY_SERVICE_HOST", "10.0.0.1"},
                      {"WEFT_GATEWAY_SERVICE_PORT_HTTP", "80"},
                      {"WEFT_GATEWAY_PORT_8080_TCP", "tcp://10.0.0.1:8080"}}) == "");
}

TEST_CASE("Schema masks secrets and prints YAML that loads again with the secrets put back",
          "[config]") {
  Fixture f;
  REQUIRE(f.Load("gateway:\n  token: hunter2\n  name: \"a \\\"b\\\": c\"\n  wait: 1500ms\n"
                 "  attributes: {'x: y': \"l1\\nl2\"}\n  models: [{id: m}]\n  share: 0.1\n") == "");
  std::string printed = f.schema.EffectiveYaml();
  INFO(printed);
  REQUIRE(printed.find("hunter2") == std::string::npos);
  const size_t mask = printed.find("********");
  REQUIRE(mask != std::string::npos);
  REQUIRE(Fixture().Load(printed).find("gateway.token: this is the mask") != std::string::npos);
  printed.replace(mask, 8, "hunter2");
  REQUIRE(printed.find("share: 0.1\n") != std::string::npos);
  Fixture again;
  REQUIRE(again.Load(printed) == "");
  REQUIRE(again.settings.name == "a \"b\": c");
  REQUIRE(again.settings.wait == milliseconds(1500));
  REQUIRE(again.settings.attributes.at("x: y") == "l1\nl2");
  REQUIRE(again.settings.models.at(0).id == "m");
  REQUIRE(again.schema.EffectiveYaml() == f.schema.EffectiveYaml());
}

TEST_CASE("Schema never shows a secret in an error", "[config]") {
  Fixture f;
  const std::string error = f.Load("gateway:\n  token: [hunter2]\n");
  REQUIRE(error.find("gateway.token") != std::string::npos);
  REQUIRE(error.find("hunter2") == std::string::npos);
}

TEST_CASE("Schema describes every key in a Markdown table", "[config]") {
  Fixture f;
  const std::string reference = f.schema.Reference();
  INFO(reference);
  REQUIRE(reference.find("| `gateway.batch` | integer | `8` | 1 to 256 | `WEFT_GATEWAY_BATCH` | "
                         "sequences in a step |") != std::string::npos);
  REQUIRE(reference.find("`gateway.models[].replicas`") != std::string::npos);
  REQUIRE(reference.find("policy \\| kind") != std::string::npos);
  REQUIRE(reference.find("`WEFT_GATEWAY_TLS_CERTIFICATE`") != std::string::npos);
}

TEST_CASE("ParseYaml refuses what hides or multiplies values", "[config]") {
  const auto [text, expected] = GENERATE(table<std::string, std::string>({
      {"a: 1\na: 2\n", "f:2: the key 'a' is here twice, first in line 1"},
      {"a: &x [1]\nb: *x\n", "f:2: aliases are not allowed"},
      {"a: {<<: {b: 1}}\n", "merge keys are not allowed"},
      {"? [a]\n: b\n", "a key must be plain text"},
      {"a: 1\n---\nb: 2\n", "more than one YAML document"},
      {"a: [1\n", "f:"},
      {std::string(40, '[') + std::string(40, ']'), "nested deeper than 32 levels"},
  }));
  INFO(text);
  const auto parsed = ParseYaml(text, "f");
  REQUIRE_FALSE(parsed.ok());
  INFO(Message(parsed.status()));
  REQUIRE(Message(parsed.status()).find(expected) != std::string_view::npos);
}

TEST_CASE("ParseYaml bounds bytes and values", "[config]") {
  REQUIRE_FALSE(ParseYaml("a: bcd", "f", {.bytes = 5}).ok());
  REQUIRE_FALSE(ParseYaml("[1,2,3]", "f", {.nodes = 3}).ok());
  REQUIRE(ParseYaml("[1,2]", "f", {.nodes = 3}).ok());
}

}  // namespace
}  // namespace weft::config
