#include "services/gateway/output_gate.h"

#include "tests/support/catch.h"

using weft::gateway::OutputGate;
using weft::scan::Action;
using weft::scan::Category;
using weft::scan::Finding;
using weft::scan::Policy;
using weft::scan::TextKind;

namespace {

Policy Of(Action code, Action secret) {
  Policy policy;
  auto& actions = policy.defaults[static_cast<size_t>(TextKind::kOutput)];
  actions = {code, Action::kOff, secret};
  return policy;
}
OutputGate Gate(const Policy& policy) {
  return OutputGate(policy, TextKind::kOutput, OutputGate::ModeFor(policy, TextKind::kOutput));
}
OutputGate::Piece Piece(std::string text) {
  OutputGate::Piece piece;
  piece.text = std::move(text);
  piece.token_ids = {1};
  piece.logprobs.emplace_back();
  return piece;
}
Finding At(uint64_t begin, uint64_t end, Category category = Category::kSecret) {
  Finding finding;
  finding.rule = "r";
  finding.type = "t";
  finding.category = category;
  finding.match = "m";  // an empty match only continues the finding before it
  finding.begin = begin;
  finding.end = end;
  finding.line = 1;
  return finding;
}
std::string Taken(OutputGate& gate) {
  std::string out;
  for (const auto& piece : gate.Take()) out += piece.text + "|";
  return out;
}

}  // namespace

TEST_CASE("The gate holds text only when the policy may need it", "[gateway]") {
  CHECK(Gate(Of(Action::kOff, Action::kOff)).mode() == OutputGate::Mode::kOpen);
  CHECK(Gate(Of(Action::kFlag, Action::kFlag)).mode() == OutputGate::Mode::kWatch);
  CHECK(Gate(Of(Action::kFlag, Action::kRedact)).mode() == OutputGate::Mode::kHold);
  CHECK(Gate(Of(Action::kBlock, Action::kOff)).mode() == OutputGate::Mode::kHold);
}

TEST_CASE("Held text leaves in whole pieces as far as it is clear", "[gateway]") {
  const Policy policy = Of(Action::kOff, Action::kRedact);
  OutputGate gate = Gate(policy);
  gate.Push(Piece("abc"));
  gate.Push(Piece("def"));
  CHECK(Taken(gate).empty());
  gate.OnVerdict(4, {});
  CHECK(Taken(gate) == "abc|");
  gate.OnVerdict(6, {});
  CHECK(Taken(gate) == "def|");
  CHECK(gate.empty());
}

TEST_CASE("A redacted range hides its text, ids and log probabilities across pieces", "[gateway]") {
  const Policy policy = Of(Action::kOff, Action::kRedact);
  OutputGate gate = Gate(policy);
  gate.Push(Piece("key=SEC"));
  gate.Push(Piece("RET end"));
  gate.Push(Piece(" more"));
  gate.OnVerdict(19, {At(4, 10)});
  const auto pieces = gate.Take();
  REQUIRE(pieces.size() == 3);
  CHECK(pieces[0].text == "key=[REDACTED:t]");
  CHECK(pieces[1].text == " end");
  CHECK(pieces[2].text == " more");
  CHECK(pieces[0].token_ids.empty());
  CHECK(pieces[1].logprobs.empty());
  CHECK(pieces[2].logprobs.size() == 1);
  CHECK(gate.redacted());
  CHECK(gate.reported().size() == 1);
}

TEST_CASE("A block shows what stands before it and nothing after", "[gateway]") {
  const Policy policy = Of(Action::kBlock, Action::kOff);
  OutputGate gate = Gate(policy);
  gate.Push(Piece("fine\n"));
  gate.Push(Piece("os.system(x)\n"));
  gate.Push(Piece("later"));
  gate.OnVerdict(23, {At(8, 17, Category::kCode)});
  CHECK(Taken(gate) == "fine\n|os.|");
  CHECK(gate.blocked());
  CHECK(gate.blocked_by().begin == 8);
  gate.Push(Piece("even later"));
  gate.OnVerdict(33, {});
  CHECK(Taken(gate).empty());
}

TEST_CASE("In watch mode text passes and findings are still reported", "[gateway]") {
  const Policy policy = Of(Action::kFlag, Action::kFlag);
  OutputGate gate = Gate(policy);
  gate.Push(Piece("abc"));
  CHECK(Taken(gate) == "abc|");
  gate.OnVerdict(3, {At(0, 2)});
  CHECK(gate.reported().size() == 1);
}

TEST_CASE("A gate that is opened up lets everything pass that was held", "[gateway]") {
  const Policy policy = Of(Action::kBlock, Action::kBlock);
  OutputGate gate = Gate(policy);
  gate.Push(Piece("abc"));
  gate.OpenUp();
  CHECK(Taken(gate) == "abc|");
}

TEST_CASE("A scanner that claims more than was sent is not believed", "[gateway]") {
  const Policy policy = Of(Action::kBlock, Action::kOff);
  OutputGate gate = Gate(policy);
  gate.Push(Piece("abc"));
  gate.OnVerdict(1000, {});
  CHECK(Taken(gate) == "abc|");
  gate.Push(Piece("os.system"));
  CHECK(Taken(gate).empty());
}
