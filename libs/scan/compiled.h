// The inside of a RuleSet. Included by the matchers only: it shows Vectorscan.
#pragma once

#include <hs/hs.h>

#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <vector>

#include "libs/scan/regex.h"
#include "libs/scan/rule_set.h"

namespace weft::scan {

struct RuleSet::Compiled {
  // What one thread needs while it scans.
  struct Scratch {
    hs_scratch_t* hs = nullptr;
    Regex::Scratch regex;
    ~Scratch() { hs_free_scratch(hs); }
  };

  // Gives the scratch back to the pool.
  class Lease {
   public:
    explicit Lease(const Compiled& owner) : owner_(owner), scratch_(owner.Take()) {}
    ~Lease() { owner_.Return(std::move(scratch_)); }
    Lease(const Lease&) = delete;
    Lease& operator=(const Lease&) = delete;
    Scratch& operator*() const { return *scratch_; }

   private:
    const Compiled& owner_;
    std::unique_ptr<Scratch> scratch_;
  };

  Compiled() = default;
  ~Compiled();
  Compiled(const Compiled&) = delete;
  Compiled& operator=(const Compiled&) = delete;

  std::unique_ptr<Scratch> Take() const;
  void Return(std::unique_ptr<Scratch> scratch) const;

  hs_database_t* database = nullptr;  // streaming; the id of an expression is the rule's index
  hs_scratch_t* prototype = nullptr;
  size_t stream_bytes = 0;
  std::vector<Regex> regexes;                 // by rule
  std::vector<std::optional<Regex>> follows;  // by rule; anchored at the start of the search
  std::vector<uint32_t> masking;              // rules whose group is masked wherever text is shown

  mutable std::mutex mutex;
  mutable std::vector<std::unique_ptr<Scratch>> idle;
};

}  // namespace weft::scan
