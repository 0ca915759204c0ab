// Request ids (UUIDv7, RFC 9562 section 5.7) and random bytes.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "libs/base/clock.h"

namespace weft {

// Fills with bytes from the kernel's generator. Thread safe. Suitable for keys.
void RandomBytes(std::span<uint8_t> out);
uint64_t RandomU64();

// The same generator's bytes, fetched many at a time by each thread: for ids made for every
// request. They lie in memory before they are given out, so not for keys and salts. Thread safe;
// a forked child does not repeat its parent's.
void RandomIdBytes(std::span<uint8_t> out);

// "018f3c1e-7b2a-7cc3-98c4-dc0c0c07398f": sorts by time of creation (ms). Thread safe.
std::string NewRequestId(const Clock& clock = Clock::Real());

// Lower-case hex of the bytes.
std::string Hex(std::span<const uint8_t> bytes);
// False when text is not exactly 2 * out.size() hex digits.
bool ParseHex(std::string_view text, std::span<uint8_t> out);

}  // namespace weft
