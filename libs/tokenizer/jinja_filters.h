// The tables of filters.
#pragma once

#include <string_view>

#include "libs/tokenizer/jinja_interpreter.h"

namespace weft::jinja {

struct NamedFilter {
  std::string_view name;
  Function function;
};

Function FindSequenceFilter(std::string_view name);

}  // namespace weft::jinja
