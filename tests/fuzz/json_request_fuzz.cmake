# The reader alone, so that the target also exists where the services are not built.
find_package(nlohmann_json REQUIRED)
if(NOT TARGET weft_json_strict)
  add_library(weft_json_strict STATIC "${CMAKE_SOURCE_DIR}/services/gateway/json_strict.cc")
  target_include_directories(weft_json_strict PUBLIC "${CMAKE_SOURCE_DIR}")
  target_link_libraries(weft_json_strict PUBLIC weft::base nlohmann_json::nlohmann_json)
  add_library(weft::json_strict ALIAS weft_json_strict)
endif()
set(weft_fuzz_deps_json_request weft::json_strict)
