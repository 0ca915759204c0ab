set(weft_fuzz_deps_otlp_json weft::spans)
