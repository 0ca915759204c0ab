set(weft_fuzz_deps_traffic weft::cache weft::limits weft::redis weft::usage)
