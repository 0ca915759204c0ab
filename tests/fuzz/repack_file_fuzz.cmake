set(weft_fuzz_deps_repack_file weft::model)
