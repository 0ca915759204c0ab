// Packing of the super-block formats Q4_K, Q5_K and Q6_K into their layouts (quant_tiles.h), which
// take the file's bytes per weight and 1 to 3 % more.
#pragma once

#include <cstdint>

namespace weft::cpu {

// Each fills `lane` of a zeroed group of 16 rows from one source row of `cols` inputs, a multiple
// of 256. False: the row has a scale that is not finite.
bool PackQ4KRow(const uint8_t* src, int64_t cols, int lane, uint8_t* group);
bool PackQ5KRow(const uint8_t* src, int64_t cols, int lane, uint8_t* group);
bool PackQ6KRow(const uint8_t* src, int64_t cols, int lane, uint8_t* group);

}  // namespace weft::cpu
