set(weft_fuzz_deps_rules weft::scan)
