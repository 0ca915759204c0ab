// Reads what a collector wrote to its `file`.
#pragma once

#include <chrono>
#include <fstream>
#include <string>
#include <thread>

#include "libs/spans/otlp_json.h"
#include "tests/support/catch.h"

namespace weft::collector {

inline spans::Spans SpansIn(const std::string& path) {
  spans::Spans all;
  std::ifstream in(path);
  for (std::string line; std::getline(in, line);) {
    if (in.eof()) break;  // a line without its end is still being written
    auto spans = spans::ParseOtlpJson(line);
    REQUIRE(spans.ok());
    for (auto& resource : *spans) all.push_back(std::move(resource));
  }
  return all;
}

// Everything in the file, once it has that many spans.
inline spans::Spans WaitSpansIn(const std::string& path, size_t count) {
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(30);
  while (true) {
    spans::Spans all = SpansIn(path);
    if (spans::CountSpans(all) >= count) return all;
    INFO(path << " has " << spans::CountSpans(all) << " of " << count << " spans");
    REQUIRE(std::chrono::steady_clock::now() < end);
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
}

}  // namespace weft::collector
