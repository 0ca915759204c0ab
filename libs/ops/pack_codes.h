// Packing of block formats that have no layout of their own: one decoder (tensor's BlockFormat)
// and two layouts serve them all, exactly.
#pragma once

#include <cstdint>
#include <vector>

#include "libs/tensor/block_formats.h"

namespace weft::cpu {

// Fills `lane` of a group of 16 rows in layout kCodes (kCodesOffset if the format has offsets)
// from one source row of `cols` inputs. False: a scale or an offset is not finite.
bool PackCodesRow(const BlockFormat& format, const uint8_t* src, int64_t cols, int lane,
                  uint8_t* group);

// True for formats that are Q8_0 with fewer codes: 32 of them share one half scale, which a block
// begins with, and there is no offset.
bool IsNarrowQ8_0(DType type);
// A row of such a format as Q8_0: the same values.
std::vector<uint8_t> WidenToQ8_0(const BlockFormat& format, const uint8_t* src, int64_t cols);

}  // namespace weft::cpu
