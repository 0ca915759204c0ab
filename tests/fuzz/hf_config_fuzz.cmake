set(weft_fuzz_deps_hf_config weft::model)
