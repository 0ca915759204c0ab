set(weft_fuzz_deps_step_wire weft::model)
