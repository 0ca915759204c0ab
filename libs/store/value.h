// What goes into a statement and what comes out of it, whatever the database.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

namespace weft::store {

// NULL, a 64-bit integer, a double, UTF-8 text without NUL, or bytes.
class Value {
 public:
  struct Bytes {
    std::string bytes;
    bool operator==(const Bytes&) const = default;
  };

  Value() = default;
  Value(int64_t v) : v_(v) {}                             // NOLINT
  Value(int v) : v_(static_cast<int64_t>(v)) {}           // NOLINT
  Value(uint32_t v) : v_(static_cast<int64_t>(v)) {}      // NOLINT
  Value(bool v) : v_(static_cast<int64_t>(v ? 1 : 0)) {}  // NOLINT
  Value(double v) : v_(v) {}                              // NOLINT
  Value(std::string v) : v_(std::move(v)) {}              // NOLINT
  Value(std::string_view v) : v_(std::string(v)) {}       // NOLINT
  Value(const char* v) : v_(std::string(v)) {}            // NOLINT
  static Value Blob(std::string bytes) {
    Value value;
    value.v_ = Bytes{std::move(bytes)};
    return value;
  }

  bool null() const { return std::holds_alternative<std::monostate>(v_); }
  // The empty value where there is another type: a column's type is the schema's affair.
  int64_t Int() const {
    const auto* v = std::get_if<int64_t>(&v_);
    return v != nullptr ? *v : 0;
  }
  double Real() const {
    if (const auto* v = std::get_if<double>(&v_)) return *v;
    return static_cast<double>(Int());
  }
  // Text or bytes.
  std::string_view Text() const {
    if (const auto* v = std::get_if<std::string>(&v_)) return *v;
    if (const auto* v = std::get_if<Bytes>(&v_)) return v->bytes;
    return {};
  }
  bool operator==(const Value&) const = default;

  using Variant = std::variant<std::monostate, int64_t, double, std::string, Bytes>;
  const Variant& variant() const { return v_; }

 private:
  Variant v_;
};

using Values = std::vector<Value>;

// One row of an answer; columns count from 0.
class Row {
 public:
  explicit Row(Values values) : values_(std::move(values)) {}
  size_t size() const { return values_.size(); }
  const Value& operator[](size_t column) const { return values_.at(column); }
  int64_t Int(size_t column) const { return values_.at(column).Int(); }
  double Real(size_t column) const { return values_.at(column).Real(); }
  std::string Text(size_t column) const { return std::string(values_.at(column).Text()); }

 private:
  Values values_;
};

struct Result {
  std::vector<Row> rows;
  int64_t changed = 0;  // rows that an INSERT, UPDATE or DELETE touched
};

}  // namespace weft::store
