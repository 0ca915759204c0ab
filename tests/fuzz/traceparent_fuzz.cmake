set(weft_fuzz_deps_traceparent weft::telemetry)
