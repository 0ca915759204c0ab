// What weftctl rollout reads: the state in a workload's annotation, Prometheus' answers,
// kubeconfigs and what their programs print. The first byte says which. What is accepted as a state
// must be written back as the same, and mean something.
#include <cstdint>
#include <cstdlib>
#include <nlohmann/json.hpp>
#include <string_view>

#include "libs/kube/config.h"
#include "libs/rollout/measure.h"
#include "libs/rollout/plan.h"

namespace {

void Check(bool condition) {
  if (!condition) abort();
}

void State(std::string_view text) {
  using namespace weft::rollout;
  const auto state = StateFromJson(text);
  if (!state.ok()) return;
  const auto again = StateFromJson(ToJson(*state).dump());
  Check(again.ok() && ToJson(*again) == ToJson(*state) && Want(*again) == Want(*state));
  Check(!Describe(*state).empty());
  Observation seen;
  seen.now = state->since;
  seen.workload_ready = seen.next_ready = true;
  seen.next_hash = "hash";
  const Wanted wanted = Want(Advance(*state, seen));
  Check(wanted.next_replicas >= 0);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  const std::string_view text(reinterpret_cast<const char*>(data) + 1, size - 1);
  switch (data[0]) {
    case 's':
      State(text);
      break;
    case 'p':
      (void)weft::rollout::ParseAnswer(text);
      break;
    case 'c':
      // A folder that is not there: no file is read, and no program run.
      (void)weft::kube::ParseKubeconfig(text, "/nonexistent", "", /*run_programs=*/false);
      break;
    case 'e':
      (void)weft::kube::ParseExecCredential(text);
      break;
    default:
      break;
  }
  return 0;
}
