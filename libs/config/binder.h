// Declares the keys of a configuration section and binds them to the fields of a plain struct.
//
//   void Bind(config::Binder& b, EngineOptions& o) {
//     b.Int("max_batch_size", &o.max_batch_size, 1, 256, "sequences in one step");
//     b.Duration("max_wait", &o.max_wait, 0ms, 10s, "how long a partial batch waits");
//     b.Choice("numerics", &o.numerics, {{"exact", Numerics::kExact}, {"fast", Numerics::kFast}},
//     "…"); b.Section("tls", "transport security", [&](Binder& inner) { Bind(inner, o.tls); });
//   }
//
// Defaults are what the fields hold when they are bound. The struct must outlive the binder.
#pragma once

#include <chrono>
#include <concepts>
#include <cstdint>
#include <functional>
#include <limits>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "libs/config/value.h"

namespace weft::config {

// One declared key. `set` checks type and range; its errors begin with the value's place.
struct Key {
  std::string path;   // "gateway.tls.cert_file"
  std::string type;   // "integer", "duration", …
  std::string range;  // "1 to 256"; empty: no limit
  std::string help;
  bool secret = false;
  bool composite = false;  // takes a list or a section
  std::function<absl::Status(const Value&)> set;
  std::function<Value()> get;
};

class Binder {
 public:
  // `prefix` is the section's path, "gateway".
  explicit Binder(std::string prefix) : prefix_(std::move(prefix)) {}

  template <std::integral T>
  requires(!std::same_as<T, bool>) void Int(std::string_view name, T* field,
                                            std::type_identity_t<T> min,
                                            std::type_identity_t<T> max, std::string_view help) {
    AddInt(name, static_cast<int64_t>(min), static_cast<int64_t>(max), help,
           {[field](int64_t v) { *field = static_cast<T>(v); },
            [field] { return static_cast<int64_t>(*field); }});
  }

  template <std::floating_point T>
  void Float(std::string_view name, T* field, std::type_identity_t<T> min,
             std::type_identity_t<T> max, std::string_view help) {
    AddFloat(name, static_cast<double>(min), static_cast<double>(max), help,
             {[field](double v) { *field = static_cast<T>(v); },
              [field] { return static_cast<double>(*field); }});
  }

  void Bool(std::string_view name, bool* field, std::string_view help);

  // min_length 1 makes the key required to be non-empty when it is given.
  void Text(std::string_view name, std::string* field, std::string_view help, size_t min_length = 0,
            size_t max_length = 4096);

  // Text that may hold a secret: --print-config shows what `shown` makes of it.
  void TextShownAs(std::string_view name, std::string* field, std::string_view help,
                   std::function<std::string(const std::string&)> shown);

  // Shown as ******** by --print-config, which does not load again, and never in an error.
  void Secret(std::string_view name, std::string* field, std::string_view help);

  template <typename E>
  void Choice(std::string_view name, E* field, std::vector<std::pair<std::string, E>> choices,
              std::string_view help) {
    std::vector<std::string> names;
    names.reserve(choices.size());
    for (const auto& choice : choices) names.push_back(choice.first);
    AddChoice(name, std::move(names), help,
              {[field, choices](size_t i) { *field = choices[i].second; },
               [field, choices] {
                 for (size_t i = 0; i < choices.size(); ++i) {
                   if (choices[i].second == *field) return i;
                 }
                 return choices.size();
               }});
  }

  template <typename Rep, typename Period>
  void Duration(std::string_view name, std::chrono::duration<Rep, Period>* field,
                std::chrono::nanoseconds min, std::chrono::nanoseconds max, std::string_view help) {
    using Field = std::chrono::duration<Rep, Period>;
    AddDuration(
        name, min, max, std::chrono::nanoseconds(Field(1)), help,
        {[field](std::chrono::nanoseconds v) { *field = std::chrono::duration_cast<Field>(v); },
         [field] { return std::chrono::nanoseconds(*field); }});
  }

  void Bytes(std::string_view name, uint64_t* field, uint64_t min, uint64_t max,
             std::string_view help);
  void List(std::string_view name, std::vector<std::string>* field, size_t max_items,
            std::string_view help);
  void Map(std::string_view name, std::map<std::string, std::string>* field, size_t max_items,
           std::string_view help);

  // A list of sections of the same shape, e.g. `models: [{id: a, path: b}, …]`.
  template <typename T>
  void Objects(std::string_view name, std::vector<T>* field, size_t max_items,
               std::string_view help, std::function<void(Binder&, T&)> bind) {
    AddObjects(name, max_items, help,
               {[field] { field->clear(); },
                [field, bind](Binder& binder) { bind(binder, field->emplace_back()); },
                [field, bind](size_t i, Binder& binder) { bind(binder, (*field)[i]); },
                [field] { return field->size(); }},
               [bind](Binder& binder) {
                 // Only declared, for the reference: the struct lives as long as its binder.
                 auto sample = std::make_shared<T>();
                 bind(binder, *sample);
                 binder.samples_.push_back(sample);
               });
  }

  // A nested section; its keys are prefixed with `name`.
  void Section(std::string_view name, std::string_view help,
               const std::function<void(Binder&)>& bind);

  const std::string& prefix() const { return prefix_; }
  const std::vector<Key>& keys() const { return keys_; }
  // Keys of the elements of Objects, under "name[]."; shown in the reference only.
  const std::vector<Key>& element_keys() const { return element_keys_; }
  const std::vector<std::pair<std::string, std::string>>& sections() const { return sections_; }

  // Sets every key that `map` holds. Unknown keys and bad values are added to `errors`.
  void Apply(const Value& map, std::vector<std::string>& errors) const;
  // Effective values, nested as in the file, secrets masked.
  Value Effective() const;

 private:
  template <typename T>
  struct Access {
    std::function<void(T)> set;
    std::function<T()> get;
  };
  struct ObjectAccess {
    std::function<void()> clear;
    std::function<void(Binder&)> append;
    std::function<void(size_t, Binder&)> at;
    std::function<size_t()> size;
  };

  Key& Add(std::string_view name, std::string_view type, std::string range, std::string_view help);
  void AddInt(std::string_view name, int64_t min, int64_t max, std::string_view help,
              Access<int64_t> access);
  void AddFloat(std::string_view name, double min, double max, std::string_view help,
                Access<double> access);
  void AddChoice(std::string_view name, std::vector<std::string> names, std::string_view help,
                 Access<size_t> access);
  void AddDuration(std::string_view name, std::chrono::nanoseconds min,
                   std::chrono::nanoseconds max, std::chrono::nanoseconds resolution,
                   std::string_view help, Access<std::chrono::nanoseconds> access);
  void AddObjects(std::string_view name, size_t max_items, std::string_view help,
                  ObjectAccess access, const std::function<void(Binder&)>& declare);

  std::string prefix_;
  std::vector<Key> keys_;
  std::vector<Key> element_keys_;
  std::vector<std::pair<std::string, std::string>> sections_;  // path, help
  std::vector<std::shared_ptr<void>> samples_;
};

// The nearest of `names` when it is near enough to be a typing error, else empty.
std::string Nearest(std::string_view word, const std::vector<std::string>& names);

}  // namespace weft::config
