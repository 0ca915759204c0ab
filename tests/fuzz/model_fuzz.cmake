set(weft_fuzz_deps_model weft::model weft::gguf)
