// One PCRE2 pattern over bytes, JIT-compiled for whole and for partial matching.
#pragma once

#include <absl/status/statusor.h>

#include <cstddef>
#include <memory>
#include <string_view>

namespace weft::scan {

class Regex {
 public:
  // What one thread needs to match; may be used with every Regex.
  class Scratch {
   public:
    Scratch();
    ~Scratch();
    Scratch(const Scratch&) = delete;
    Scratch& operator=(const Scratch&) = delete;

   private:
    friend class Regex;
    struct Impl;
    std::unique_ptr<Impl> impl_;
  };

  struct Match {
    enum Kind {
      kNone,
      kFull,
      kPartial,  // the match that begins at `begin` depends on text beyond the subject
      kGaveUp,   // the match limit or the JIT stack was used up
    };
    Kind kind = kNone;
    size_t begin = 0;
    size_t end = 0;
    size_t group_begin = 0;  // of the wanted group; the whole match when that took no part
    size_t group_end = 0;
  };

  // INVALID_ARGUMENT with PCRE2's message and the offset. Patterns with \K, with a lookbehind
  // beyond kMaxLookbehind bytes or that match the empty text are refused.
  static constexpr size_t kMaxLookbehind = 16;
  static constexpr int kMaxGroups = 16;
  static absl::StatusOr<Regex> Compile(std::string_view pattern, bool caseless);

  // The leftmost match that begins at or after `start`. Text before `start` is seen by lookbehinds
  // only. `at_begin`: ^ matches at the subject's first byte. `partial`: more text may follow, and a
  // match that could change if it did is kPartial.
  Match Search(std::string_view subject, size_t start, bool at_begin, bool partial, int group,
               Scratch& scratch) const;

  int groups() const { return groups_; }

 private:
  struct Free {
    void operator()(void* code) const;
  };
  std::unique_ptr<void, Free> code_;
  int groups_ = 0;
};

}  // namespace weft::scan
