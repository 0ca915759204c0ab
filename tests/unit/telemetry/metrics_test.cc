#include "libs/telemetry/metrics.h"

#include <string>
#include <thread>
#include <vector>

#include "tests/support/catch.h"

namespace weft::telemetry {
namespace {

bool Has(const std::string& text, const std::string& line) {
  return ("\n" + text).find("\n" + line + "\n") != std::string::npos;
}

TEST_CASE("Registry exposes counters, gauges and histograms as Prometheus text", "[telemetry]") {
  Registry registry;
  auto requests = registry.CounterWith("requests_total", "Requests.", {"language", "status"});
  requests.With({"python", "200"}).Increment();
  requests.With({"python", "200"}).Increment(2);
  registry.GaugeOf("active", "Active.").Set(7);
  auto seconds = registry.HistogramOf("seconds", "Duration.", {0.1, 0.5, 1});
  seconds.Observe(0.1);
  seconds.Observe(0.7);
  seconds.Observe(9);
  const std::string text = registry.Expose();
  INFO(text);
  REQUIRE(Has(text, "# HELP requests_total Requests."));
  REQUIRE(Has(text, "# TYPE requests_total counter"));
  REQUIRE(Has(text, "requests_total{language=\"python\",status=\"200\"} 3"));
  REQUIRE(Has(text, "active 7"));
  REQUIRE(Has(text, "seconds_bucket{le=\"0.1\"} 1"));
  REQUIRE(Has(text, "seconds_bucket{le=\"1\"} 2"));
  REQUIRE(Has(text, "seconds_bucket{le=\"+Inf\"} 3"));
  REQUIRE(Has(text, "seconds_count 3"));
}

TEST_CASE("Registry gives the same family for the same name", "[telemetry]") {
  Registry registry;
  registry.CounterOf("a_total", "A.").Increment();
  registry.CounterOf("a_total", "A.").Increment();
  REQUIRE(Has(registry.Expose(), "a_total 2"));
}

TEST_CASE("A family sends label sets beyond its bound to one series and counts it", "[telemetry]") {
  Registry registry;
  auto family = registry.CounterWith("c_total", "C.", {"model"}, 2);
  for (const char* model : {"a", "b", "c", "d", "a"}) family.With({model}).Increment();
  const std::string text = registry.Expose();
  REQUIRE(Has(text, "c_total{model=\"a\"} 2"));
  REQUIRE(Has(text, "c_total{model=\"other\"} 2"));
  REQUIRE(Has(text, "weft_metrics_overflow_total{metric=\"c_total\"} 2"));
}

TEST_CASE("A family makes hostile label values harmless", "[telemetry]") {
  Registry registry;
  auto family = registry.CounterWith("c_total", "C.", {"model"});
  family.With({"x\"} 1\nfake_total 5"}).Increment();
  family.With({std::string(1000, 'x')}).Increment();
  family.With({"\xff"}).Increment();
  const std::string text = registry.Expose();
  INFO(text);
  REQUIRE_FALSE(Has(text, "fake_total 5\"} 1"));
  REQUIRE(text.find("\nfake_total") == std::string::npos);
  REQUIRE(text.find(std::string(129, 'x')) == std::string::npos);
  REQUIRE(Has(text, "c_total{model=\"\xEF\xBF\xBD\"} 1"));
}

TEST_CASE("Watched values are asked at each scrape until they are unwatched", "[telemetry]") {
  Registry registry;
  double value = 1;
  const int handle = registry.WatchGauge("queue", "Queue.", {{"kind", "a"}}, [&] { return value; });
  registry.WatchGauge("queue", "Queue.", {{"kind", "b"}}, [] { return 5.0; });
  REQUIRE(Has(registry.Expose(), "queue{kind=\"a\"} 1"));
  value = 2;
  REQUIRE(Has(registry.Expose(), "queue{kind=\"a\"} 2"));
  REQUIRE(Has(registry.Expose(), "queue{kind=\"b\"} 5"));
  registry.Unwatch(handle);
  REQUIRE_FALSE(Has(registry.Expose(), "queue{kind=\"a\"} 2"));
}

TEST_CASE("A removed series is gone from the exposition", "[telemetry]") {
  Registry registry;
  auto family = registry.GaugeWith("g", "G.", {"worker"});
  family.With({"w0"}).Set(1);
  family.Remove({"w0"});
  family.Remove({"never"});
  REQUIRE(registry.Expose().find("w0") == std::string::npos);
  family.With({"w0"}).Set(3);
  REQUIRE(Has(registry.Expose(), "g{worker=\"w0\"} 3"));
}

TEST_CASE("Metrics take observations from many threads", "[telemetry]") {
  Registry registry;
  auto family = registry.CounterWith("c_total", "C.", {"k"}, 4);
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < 1000; ++i) family.With({std::to_string((t + i) % 4)}).Increment();
    });
  }
  for (int i = 0; i < 20; ++i) registry.Expose();
  for (auto& thread : threads) thread.join();
  REQUIRE(Has(registry.Expose(), "c_total{k=\"0\"} 1000"));
}

TEST_CASE("WatchProcess shows the process and the build", "[telemetry]") {
  Registry registry;
  WatchProcess(registry, "weft-test", "1.2.3");
  const std::string text = registry.Expose();
  REQUIRE(Has(text, "weft_build_info{service=\"weft-test\",version=\"1.2.3\"} 1"));
  REQUIRE(text.find("process_resident_memory_bytes ") != std::string::npos);
}

}  // namespace
}  // namespace weft::telemetry
