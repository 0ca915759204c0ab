// Which way to compute a product was the fastest, by device, library and shape; kept in a file so
// that it is timed once. A line for each:
//   DEVICE <tab> LIBRARY <tab> TYPE <tab> OUTPUTS <tab> COLS <tab> ROWS <tab> own|library <tab>
//   ALGORITHM (128 hexadecimal digits) <tab> WORKSPACE <tab> MICROSECONDS <tab> OWN MICROSECONDS
// after a first line "weft products 1".
#pragma once

#include <absl/status/status.h>
#include <absl/status/statusor.h>

#include <map>
#include <string>
#include <string_view>
#include <tuple>

#include "libs/ops/product_library.h"

namespace weft::gpu {

struct ProductChoice {
  bool library = false;  // else the own kernel
  ProductAlgorithm algorithm;
  double microseconds = 0;      // of the library's best
  double own_microseconds = 0;  // of the own kernel
  bool operator==(const ProductChoice&) const = default;
};

// One thread at a time.
class ProductChoices {
 public:
  static constexpr size_t kMostBytes = size_t{4} << 20;  // of a file

  // INVALID_ARGUMENT with the line and the field.
  static absl::StatusOr<ProductChoices> Parse(std::string_view text);
  std::string Format() const;
  // Nothing chosen where there is no file. Errors name the path.
  static absl::StatusOr<ProductChoices> Load(const std::string& path);
  // The whole file, at once.
  absl::Status Save(const std::string& path) const;

  // Null when it was never chosen.
  const ProductChoice* Find(std::string_view device, std::string_view library,
                            const ProductShape& shape) const;
  // Tabs and line ends of a name become spaces.
  void Set(std::string_view device, std::string_view library, const ProductShape& shape,
           const ProductChoice& choice);
  size_t size() const { return choices_.size(); }

 private:
  using Key = std::tuple<std::string, std::string, ProductShape>;
  std::map<Key, ProductChoice> choices_;
};

}  // namespace weft::gpu
