// A configuration file, an environment variable and a --set from anywhere: the schema must answer
// with a status, and what it accepts must print as YAML that it accepts again.
#include <cstdint>
#include <cstdlib>
#include <map>
#include <string>
#include <vector>

#include "libs/config/schema.h"

namespace {

struct Item {
  std::string id;
  int count = 1;
};

struct Settings {
  int number = 5;
  double ratio = 0.5;
  bool flag = false;
  std::string text = "t";
  int choice = 0;
  std::chrono::milliseconds wait{5};
  uint64_t bytes = 1024;
  std::vector<std::string> list;
  std::map<std::string, std::string> map;
  std::vector<Item> items;
  std::string inner;
};

void Bind(weft::config::Binder& b, Settings& s) {
  b.Int("number", &s.number, -10, 10, "");
  b.Float("ratio", &s.ratio, 0, 1, "");
  b.Bool("flag", &s.flag, "");
  b.Text("text", &s.text, "");
  b.Choice("choice", &s.choice, {{"a", 0}, {"b", 1}}, "");
  b.Duration("wait", &s.wait, std::chrono::nanoseconds(0), std::chrono::hours(1), "");
  b.Bytes("bytes", &s.bytes, 0, ~uint64_t{0}, "");
  b.List("list", &s.list, 8, "");
  b.Map("map", &s.map, 8, "");
  b.Objects<Item>("items", &s.items, 8, "", [](weft::config::Binder& e, Item& item) {
    e.Text("id", &item.id, "");
    e.Int("count", &item.count, 0, 9, "");
  });
  b.Section("section", "", [&](weft::config::Binder& in) { in.Text("inner", &s.inner, ""); });
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string text(reinterpret_cast<const char*>(data), size);
  Settings settings;
  weft::config::Schema schema;
  schema.Section("worker", "", [&](weft::config::Binder& b) { Bind(b, settings); });
  const bool loaded = schema.Load({.file = "f", .text = text, .environment = {}, .sets = {}}).ok();
  if (loaded) {
    const std::string printed = schema.EffectiveYaml();
    Settings again;
    weft::config::Schema second;
    second.Section("worker", "", [&](weft::config::Binder& b) { Bind(b, again); });
    if (!second.Load({.file = "f", .text = printed, .environment = {}, .sets = {}}).ok()) abort();
  }
  Settings other;
  weft::config::Schema third;
  third.Section("worker", "", [&](weft::config::Binder& b) { Bind(b, other); });
  (void)third.Load({.file = "",
                    .text = std::nullopt,
                    .environment = {{"WEFT_WORKER_LIST", text}, {"WEFT_WORKER_WAIT", text}},
                    .sets = {text, "worker.items=" + text, "worker.bytes=" + text}});
  return 0;
}
