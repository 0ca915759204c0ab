set(weft_fuzz_deps_span_record weft::spans)
