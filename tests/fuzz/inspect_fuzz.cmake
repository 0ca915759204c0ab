set(weft_fuzz_deps_inspect weft::inspect nlohmann_json::nlohmann_json)
