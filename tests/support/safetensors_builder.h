// .safetensors files in memory: correct ones, and ones whose header lies.
#pragma once

#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>
#include <vector>

namespace weft::test {

// A file of this header text and these data bytes, whatever they say.
inline std::string SafetensorsBytes(std::string_view header, std::string_view data = {}) {
  const uint64_t length = header.size();
  std::string out(sizeof(length), '\0');
  std::memcpy(out.data(), &length, sizeof(length));
  out += header;
  out += data;
  return out;
}

// Adds tensors one after another. Names and dtypes need no escaping in JSON.
class SafetensorsBuilder {
 public:
  SafetensorsBuilder& Add(const std::string& name, const std::string& dtype,
                          const std::vector<int64_t>& shape, std::string_view bytes) {
    header_ += header_.empty() ? "" : ",";
    header_ += "\"" + name + "\":{\"dtype\":\"" + dtype + "\",\"shape\":[";
    for (size_t i = 0; i < shape.size(); ++i) {
      header_ += (i > 0 ? "," : "") + std::to_string(shape[i]);
    }
    header_ += "],\"data_offsets\":[" + std::to_string(data_.size()) + ",";
    data_ += bytes;
    header_ += std::to_string(data_.size()) + "]}";
    return *this;
  }
  std::string Finish() const { return SafetensorsBytes("{" + header_ + "}", data_); }

 private:
  std::string header_;
  std::string data_;
};

}  // namespace weft::test
