// Metrics in Prometheus' model: families of counters, gauges and histograms with labels.
//
//   auto requests = registry.CounterWith("code_gen_requests_total", "Requests.", {"language",
//   "status"}); requests.With({"python", "200"}).Increment();
//
// A family holds at most max_series label sets; beyond that everything goes to one series whose
// labels are all "other", and weft_metrics_overflow_total{metric} counts it: clients must not be
// able to make series without end. Families and series are cheap to copy and live as long as the
// registry.
#pragma once

#include <functional>
#include <initializer_list>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace prometheus {
class Counter;
class Gauge;
class Histogram;
}  // namespace prometheus

namespace weft::telemetry {

using LabelNames = std::vector<std::string>;
using LabelValues = std::initializer_list<std::string_view>;

// Thread safe.
class Counter {
 public:
  explicit Counter(prometheus::Counter* impl) : impl_(impl) {}
  void Increment(double by = 1);  // a negative number is ignored
  double Value() const;

 private:
  prometheus::Counter* impl_;
};

// Thread safe.
class Gauge {
 public:
  explicit Gauge(prometheus::Gauge* impl) : impl_(impl) {}
  void Set(double value);
  void Add(double by);
  double Value() const;

 private:
  prometheus::Gauge* impl_;
};

// Thread safe.
class Histogram {
 public:
  explicit Histogram(prometheus::Histogram* impl) : impl_(impl) {}
  void Observe(double value);

 private:
  prometheus::Histogram* impl_;
};

namespace internal {
template <typename Series>
class FamilyState;
}

// Thread safe. With takes a lock: keep the series where it is used often.
template <typename Series>
class Family {
 public:
  explicit Family(std::shared_ptr<internal::FamilyState<Series>> state)
      : state_(std::move(state)) {}
  // As many values as the family has label names (checked). Values are made valid UTF-8 and cut to
  // 128 bytes.
  Series With(LabelValues values) const;
  // Forgets a series that will not come again (a worker that left). Its handles must not be used.
  void Remove(LabelValues values) const;

 private:
  std::shared_ptr<internal::FamilyState<Series>> state_;
};

using CounterFamily = Family<Counter>;
using GaugeFamily = Family<Gauge>;
using HistogramFamily = Family<Histogram>;

// Thread safe. Names are checked when a family is made: a bad one ends the process (it is a
// constant of the program). The same name twice gives the same family.
class Registry {
 public:
  Registry();
  ~Registry();
  Registry(const Registry&) = delete;
  Registry& operator=(const Registry&) = delete;

  CounterFamily CounterWith(std::string name, std::string help, LabelNames labels,
                            size_t max_series = 1000);
  GaugeFamily GaugeWith(std::string name, std::string help, LabelNames labels,
                        size_t max_series = 1000);
  HistogramFamily HistogramWith(std::string name, std::string help, LabelNames labels,
                                std::vector<double> buckets, size_t max_series = 200);
  // Families of one series without labels.
  telemetry::Counter CounterOf(std::string name, std::string help);
  telemetry::Gauge GaugeOf(std::string name, std::string help);
  telemetry::Histogram HistogramOf(std::string name, std::string help, std::vector<double> buckets);

  // A value that is asked for at each scrape. The function must be thread safe and quick, and what
  // it refers to must live until Unwatch(handle) or the registry's end.
  using Labels = std::vector<std::pair<std::string, std::string>>;
  int WatchGauge(std::string name, std::string help, Labels labels, std::function<double()> value);
  int WatchCounter(std::string name, std::string help, Labels labels,
                   std::function<double()> value);
  // No call of the function runs or begins after it returns.
  void Unwatch(int handle);

  // The text exposition format 0.0.4: "text/plain; version=0.0.4; charset=utf-8".
  std::string Expose() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

// process_resident_memory_bytes, process_cpu_seconds_total, process_open_fds, process_max_fds,
// process_start_time_seconds, and weft_build_info{service,version}.
void WatchProcess(Registry& registry, const std::string& service, const std::string& version);

}  // namespace weft::telemetry
