#include "services/weftctl/printable.h"

#include "tests/support/catch.h"

namespace weft::ctl {
namespace {

TEST_CASE("What a file says cannot steer a terminal", "[weftctl]") {
  CHECK(Printable("blk.0.attn_q.weight") == "blk.0.attn_q.weight");
  CHECK(Printable("modèle 模型 🙂") == "modèle 模型 🙂");
  CHECK(Printable("a\x1b[31mb\rc\nd\x7f") == "a?[31mb?c?d?");
  CHECK(Printable("\u0085x\u009b31m") == "?x?31m");  // C1: next line, control sequence
  CHECK(Printable("\x9b"
                  "31m \xc3") == "?31m ?");  // the same as a byte; a character cut off
  CHECK(Printable("gpj\u202egnp.exe\u202c") == "gpj?gnp.exe?");
  CHECK(Printable("\u2066\u2067\u2068\u2069\u200e\u200f\u061c\u2028\u2029") == "?????????");
  CHECK(Printable("\xed\xa0\x80\xf4\x90\x80\x80") == "???????");  // surrogate; beyond Unicode
  CHECK(Printable("").empty());
}

}  // namespace
}  // namespace weft::ctl
