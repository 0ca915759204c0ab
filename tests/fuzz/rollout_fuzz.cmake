set(weft_fuzz_deps_rollout weft::rollout weft::kube)
