#include "libs/telemetry/metrics.h"

#include <fmt/format.h>
#include <prometheus/counter.h>
#include <prometheus/family.h>
#include <prometheus/gauge.h>
#include <prometheus/histogram.h>
#include <prometheus/registry.h>
#include <prometheus/text_serializer.h>

#include <algorithm>
#include <map>
#include <unordered_map>
#include <variant>

#include "libs/base/status.h"
#include "libs/telemetry/json_text.h"

namespace weft::telemetry {
namespace {

constexpr size_t kMaxLabelBytes = 128;

template <typename Series>
struct Traits;
template <>
struct Traits<Counter> {
  using Impl = prometheus::Counter;
};
template <>
struct Traits<Gauge> {
  using Impl = prometheus::Gauge;
};
template <>
struct Traits<Histogram> {
  using Impl = prometheus::Histogram;
};

// Finds strings by views.
struct KeyHash {
  using is_transparent = void;
  size_t operator()(std::string_view key) const { return std::hash<std::string_view>{}(key); }
};

}  // namespace

void Counter::Increment(double by) { impl_->Increment(by); }
double Counter::Value() const { return impl_->Value(); }
void Gauge::Set(double value) { impl_->Set(value); }
void Gauge::Add(double by) { impl_->Increment(by); }
double Gauge::Value() const { return impl_->Value(); }
void Histogram::Observe(double value) { impl_->Observe(value); }

namespace internal {

template <typename Series>
class FamilyState {
 public:
  using Impl = typename Traits<Series>::Impl;

  FamilyState(prometheus::Family<Impl>& family, LabelNames labels, size_t max_series,
              std::vector<double> buckets, std::function<void()> on_overflow)
      : family_(family),
        labels_(std::move(labels)),
        max_series_(max_series),
        buckets_(std::move(buckets)),
        on_overflow_(std::move(on_overflow)) {}

  Series With(LabelValues values) {
    const KeyText key = Key(values);
    bool overflowed = false;
    Impl* found = nullptr;
    {
      std::lock_guard lock(mutex_);
      const auto at = series_.find(View(key));
      if (at != series_.end()) return Series(at->second);
      overflowed = series_.size() >= max_series_;
      if (!overflowed) {
        std::vector<std::string> clean;
        for (const std::string_view value : values) {
          clean.push_back(ValidUtf8(value, kMaxLabelBytes));
        }
        found = Make(clean);
        series_.emplace(View(key), found);
      } else {
        if (other_ == nullptr) {
          other_ = Make(std::vector<std::string>(labels_.size(), "other"));
        }
        found = other_;
      }
    }
    if (overflowed) on_overflow_();
    return Series(found);
  }

  void Remove(LabelValues values) {
    std::lock_guard lock(mutex_);
    const KeyText key = Key(values);
    const auto at = series_.find(View(key));
    if (at == series_.end()) return;
    // A cut label value can stand for several keys; the other series then lives on.
    const bool shared = std::count_if(series_.begin(), series_.end(), [&](const auto& entry) {
                          return entry.second == at->second;
                        }) > 1;
    if (!shared && at->second != other_) family_.Remove(at->second);
    series_.erase(at);
  }

 private:
  // Looked up by every request: a key of usual size takes no memory.
  using KeyText = fmt::basic_memory_buffer<char, 256>;
  static std::string_view View(const KeyText& key) { return {key.data(), key.size()}; }

  // Each value after a byte with its length.
  KeyText Key(LabelValues values) const {
    WEFT_CHECK(values.size() == labels_.size());
    static_assert(kMaxLabelBytes <= 255);
    KeyText key;
    for (const std::string_view value : values) {
      const std::string_view part = value.substr(0, kMaxLabelBytes);
      key.push_back(static_cast<char>(part.size()));
      key.append(part.data(), part.data() + part.size());
    }
    return key;
  }

  Impl* Make(const std::vector<std::string>& values) {
    prometheus::Labels labels;
    for (size_t i = 0; i < labels_.size(); ++i) labels.emplace(labels_[i], values[i]);
    if constexpr (std::is_same_v<Impl, prometheus::Histogram>) {
      return &family_.Add(labels, buckets_);
    } else {
      return &family_.Add(labels);
    }
  }

  prometheus::Family<Impl>& family_;
  const LabelNames labels_;
  const size_t max_series_;
  const std::vector<double> buckets_;
  const std::function<void()> on_overflow_;
  std::mutex mutex_;
  std::unordered_map<std::string, Impl*, KeyHash, std::equal_to<>> series_;
  Impl* other_ = nullptr;
};

}  // namespace internal

template <typename Series>
Series Family<Series>::With(LabelValues values) const {
  return state_->With(values);
}
template <typename Series>
void Family<Series>::Remove(LabelValues values) const {
  state_->Remove(values);
}
template class Family<Counter>;
template class Family<Gauge>;
template class Family<Histogram>;

struct Registry::Impl {
  struct Watch {
    int handle;
    std::string name;
    std::string help;
    Labels labels;
    prometheus::MetricType type;
    std::function<double()> value;
  };
  using AnyState = std::variant<std::shared_ptr<internal::FamilyState<Counter>>,
                                std::shared_ptr<internal::FamilyState<Gauge>>,
                                std::shared_ptr<internal::FamilyState<Histogram>>>;

  prometheus::Registry registry;
  prometheus::Family<prometheus::Counter>* overflow = nullptr;
  mutable std::mutex mutex;  // families, watches
  std::map<std::string, AnyState> families;
  std::vector<Watch> watches;
  int next_handle = 1;

  template <typename Series>
  Family<Series> Add(
      const std::string& name, LabelNames labels, size_t max_series, std::vector<double> buckets,
      const std::function<prometheus::Family<typename Traits<Series>::Impl>&()>& make) {
    using State = internal::FamilyState<Series>;
    std::lock_guard lock(mutex);
    const auto found = families.find(name);
    if (found != families.end()) {
      const auto* state = std::get_if<std::shared_ptr<State>>(&found->second);
      WEFT_CHECK(state != nullptr);  // the same name as another type of metric
      return Family<Series>(*state);
    }
    auto state = std::make_shared<State>(make(), std::move(labels), max_series, std::move(buckets),
                                         [family = overflow, name] {
                                           family->Add({{"metric", name}}).Increment();
                                         });
    families.emplace(name, state);
    return Family<Series>(state);
  }

  int AddWatch(std::string name, std::string help, Labels labels, prometheus::MetricType type,
               std::function<double()> value) {
    std::lock_guard lock(mutex);
    const int handle = next_handle++;
    watches.push_back(
        {handle, std::move(name), std::move(help), std::move(labels), type, std::move(value)});
    return handle;
  }
};

Registry::Registry() : impl_(std::make_unique<Impl>()) {
  impl_->overflow = &prometheus::BuildCounter()
                         .Name("weft_metrics_overflow_total")
                         .Help("Observations whose label set was beyond the family's bound.")
                         .Register(impl_->registry);
}
Registry::~Registry() = default;

CounterFamily Registry::CounterWith(std::string name, std::string help, LabelNames labels,
                                    size_t max_series) {
  return impl_->Add<telemetry::Counter>(
      name, std::move(labels), max_series, {}, [&]() -> prometheus::Family<prometheus::Counter>& {
        return prometheus::BuildCounter().Name(name).Help(help).Register(impl_->registry);
      });
}

GaugeFamily Registry::GaugeWith(std::string name, std::string help, LabelNames labels,
                                size_t max_series) {
  return impl_->Add<telemetry::Gauge>(
      name, std::move(labels), max_series, {}, [&]() -> prometheus::Family<prometheus::Gauge>& {
        return prometheus::BuildGauge().Name(name).Help(help).Register(impl_->registry);
      });
}

HistogramFamily Registry::HistogramWith(std::string name, std::string help, LabelNames labels,
                                        std::vector<double> buckets, size_t max_series) {
  WEFT_CHECK(std::is_sorted(buckets.begin(), buckets.end()));
  return impl_->Add<telemetry::Histogram>(
      name, std::move(labels), max_series, std::move(buckets),
      [&]() -> prometheus::Family<prometheus::Histogram>& {
        return prometheus::BuildHistogram().Name(name).Help(help).Register(impl_->registry);
      });
}

telemetry::Counter Registry::CounterOf(std::string name, std::string help) {
  return CounterWith(std::move(name), std::move(help), {}).With({});
}
telemetry::Gauge Registry::GaugeOf(std::string name, std::string help) {
  return GaugeWith(std::move(name), std::move(help), {}).With({});
}
telemetry::Histogram Registry::HistogramOf(std::string name, std::string help,
                                           std::vector<double> buckets) {
  return HistogramWith(std::move(name), std::move(help), {}, std::move(buckets)).With({});
}

int Registry::WatchGauge(std::string name, std::string help, Labels labels,
                         std::function<double()> value) {
  return impl_->AddWatch(std::move(name), std::move(help), std::move(labels),
                         prometheus::MetricType::Gauge, std::move(value));
}
int Registry::WatchCounter(std::string name, std::string help, Labels labels,
                           std::function<double()> value) {
  return impl_->AddWatch(std::move(name), std::move(help), std::move(labels),
                         prometheus::MetricType::Counter, std::move(value));
}

void Registry::Unwatch(int handle) {
  std::lock_guard lock(impl_->mutex);
  std::erase_if(impl_->watches, [&](const Impl::Watch& watch) { return watch.handle == handle; });
}

std::string Registry::Expose() const {
  std::vector<prometheus::MetricFamily> families = impl_->registry.Collect();
  {
    std::lock_guard lock(impl_->mutex);
    std::map<std::string, prometheus::MetricFamily> watched;
    for (const Impl::Watch& watch : impl_->watches) {
      prometheus::MetricFamily& family = watched[watch.name];
      family.name = watch.name;
      family.help = watch.help;
      family.type = watch.type;
      prometheus::ClientMetric metric;
      for (const auto& [name, value] : watch.labels) metric.label.push_back({name, value});
      const double value = watch.value();
      metric.counter.value = value;
      metric.gauge.value = value;
      family.metric.push_back(std::move(metric));
    }
    for (auto& [name, family] : watched) families.push_back(std::move(family));
  }
  // Families without a series would be a HELP line alone.
  std::erase_if(families, [](const prometheus::MetricFamily& f) { return f.metric.empty(); });
  std::sort(families.begin(), families.end(),
            [](const auto& a, const auto& b) { return a.name < b.name; });
  return prometheus::TextSerializer().Serialize(families);
}

}  // namespace weft::telemetry
