set(weft_fuzz_deps_json_request weft::json)
