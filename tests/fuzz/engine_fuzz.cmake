set(weft_fuzz_deps_engine weft::engine weft::fake_model)
