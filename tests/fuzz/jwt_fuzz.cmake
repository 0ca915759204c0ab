set(weft_fuzz_deps_jwt weft::identity)
set(weft_fuzz_deps_jwk weft::identity)
set(weft_fuzz_deps_signature weft::identity)
set(weft_fuzz_deps_cookie weft::identity)
