set(weft_fuzz_deps_http_router weft::http)
