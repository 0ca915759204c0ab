set(weft_fuzz_deps_http_request weft::http)
