#include "libs/base/ids.h"

#include <pthread.h>
#include <sys/random.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstddef>

#include "libs/base/status.h"

namespace weft {
namespace {

constexpr char kDigits[] = "0123456789abcdef";

// How many forks this process is away from the first one.
std::atomic<uint32_t> g_forks{0};

void WriteHex(std::span<const uint8_t> bytes, char* out) {
  for (const uint8_t b : bytes) {
    *out++ = kDigits[b >> 4];
    *out++ = kDigits[b & 15];
  }
}

}  // namespace

void RandomBytes(std::span<uint8_t> out) {
  size_t done = 0;
  while (done < out.size()) {
    const ssize_t n = getrandom(out.data() + done, out.size() - done, 0);
    if (n < 0) continue;  // EINTR: getrandom cannot fail otherwise for a valid buffer
    done += static_cast<size_t>(n);
  }
}

uint64_t RandomU64() {
  std::array<uint8_t, 8> bytes;
  RandomBytes(bytes);
  uint64_t value = 0;
  for (uint8_t b : bytes) value = value << 8 | b;
  return value;
}

void RandomIdBytes(std::span<uint8_t> out) {
  struct Block {
    std::array<uint8_t, 1024> bytes;
    size_t used = sizeof(bytes);
    uint32_t forks = 0;
  };
  thread_local Block block;
  // pthread_atfork can fail only for want of memory.
  [[maybe_unused]] static const int registered = [] {
    const int error =
        pthread_atfork(nullptr, nullptr, [] { g_forks.fetch_add(1, std::memory_order_relaxed); });
    WEFT_CHECK(error == 0);
    return error;
  }();
  if (out.size() > block.bytes.size()) return RandomBytes(out);
  const uint32_t forks = g_forks.load(std::memory_order_relaxed);
  if (block.forks != forks || block.bytes.size() - block.used < out.size()) {
    RandomBytes(block.bytes);
    block.used = 0;
    block.forks = forks;
  }
  std::copy_n(block.bytes.begin() + static_cast<ptrdiff_t>(block.used), out.size(), out.begin());
  block.used += out.size();
}

std::string NewRequestId(const Clock& clock) {
  std::array<uint8_t, 16> id;
  RandomIdBytes(id);
  const uint64_t ms = static_cast<uint64_t>(UnixMillis(clock.Wall()));
  for (int i = 0; i < 6; ++i) id[static_cast<size_t>(i)] = static_cast<uint8_t>(ms >> (40 - 8 * i));
  id[6] = static_cast<uint8_t>((id[6] & 0x0f) | 0x70);
  id[8] = static_cast<uint8_t>((id[8] & 0x3f) | 0x80);
  std::string text(36, '-');
  const std::span<const uint8_t> bytes(id);
  WriteHex(bytes.subspan(0, 4), &text[0]);
  WriteHex(bytes.subspan(4, 2), &text[9]);
  WriteHex(bytes.subspan(6, 2), &text[14]);
  WriteHex(bytes.subspan(8, 2), &text[19]);
  WriteHex(bytes.subspan(10, 6), &text[24]);
  return text;
}

std::string Hex(std::span<const uint8_t> bytes) {
  std::string out(bytes.size() * 2, '0');
  WriteHex(bytes, out.data());
  return out;
}

bool ParseHex(std::string_view text, std::span<uint8_t> out) {
  if (text.size() != out.size() * 2) return false;
  auto digit = [](char c) -> int {
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    return -1;
  };
  for (size_t i = 0; i < out.size(); ++i) {
    const int high = digit(text[2 * i]);
    const int low = digit(text[2 * i + 1]);
    if (high < 0 || low < 0) return false;
    out[i] = static_cast<uint8_t>(high << 4 | low);
  }
  return true;
}

}  // namespace weft
