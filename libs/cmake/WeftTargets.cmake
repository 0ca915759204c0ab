# weft_library(NAME x HDRS … SRCS … DEPS … [PRIVATE_DEPS …]): the library weft::x in libs/x.
# weft_binary(NAME weft-x SRCS … DEPS …): an executable in <build>/bin.
# weft_test(NAME x SRCS … DEPS … [LABELS unit] [TIMEOUT s] [GRPC] [EMULATED cases]): one Catch2
# executable, one ctest entry. GRPC: calls go through gRPC in the test's own process; it gets the label
# `grpc`. EMULATED: the cases (a Catch2 expression, "*" for all) that also run on an emulated
# processor, which takes 20 times as long: label `emulated`.
# weft_warnings(target): the warnings of our own code; generated code does not get them.

# What `./weft test tsan` builds: every test but those in whose process calls go through gRPC.
add_custom_target(tests_without_grpc)
# What `./weft test aarch64` builds.
add_custom_target(emulated_tests)

function(weft_warnings target)
  target_compile_options(${target} PRIVATE -Wall -Wextra -Wconversion -Wno-sign-conversion -Werror)
  # Debian's gRPC and Abseil headers are system headers; nothing else is exempt.
  # GCC 13 and later see copies of one-element vectors, and of fmt's integers, run over their end.
  if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU" AND CMAKE_CXX_COMPILER_VERSION VERSION_GREATER_EQUAL 13)
    target_compile_options(${target} PRIVATE -Wno-array-bounds -Wno-stringop-overflow -Wno-stringop-overread)
  endif()
endfunction()

function(weft_library)
  cmake_parse_arguments(A "" "NAME" "HDRS;SRCS;DEPS;PRIVATE_DEPS" ${ARGN})
  set(target weft_${A_NAME})
  if(A_SRCS)
    add_library(${target} STATIC ${A_SRCS} ${A_HDRS})
    target_include_directories(${target} PUBLIC "${CMAKE_SOURCE_DIR}")
    target_link_libraries(${target} PUBLIC ${A_DEPS} PRIVATE ${A_PRIVATE_DEPS})
    weft_warnings(${target})
  else()
    add_library(${target} INTERFACE)
    target_include_directories(${target} INTERFACE "${CMAKE_SOURCE_DIR}")
    target_link_libraries(${target} INTERFACE ${A_DEPS})
  endif()
  add_library(weft::${A_NAME} ALIAS ${target})
endfunction()

function(weft_binary)
  cmake_parse_arguments(A "" "NAME" "SRCS;DEPS" ${ARGN})
  add_executable(${A_NAME} ${A_SRCS})
  target_link_libraries(${A_NAME} PRIVATE ${A_DEPS})
  weft_warnings(${A_NAME})
endfunction()

function(weft_test)
  cmake_parse_arguments(A "GRPC" "NAME;TIMEOUT;EMULATED" "SRCS;DEPS;LABELS" ${ARGN})
  if(NOT A_LABELS)
    set(A_LABELS unit)
  endif()
  if(NOT A_TIMEOUT)
    set(A_TIMEOUT 300)
  endif()
  if(A_GRPC)
    list(APPEND A_LABELS grpc)
  endif()
  if(WEFT_SANITIZE) # they cost a factor of 2 to 15
    math(EXPR A_TIMEOUT "${A_TIMEOUT} * 5")
  endif()
  set(cases "")
  if(CMAKE_CROSSCOMPILING AND A_EMULATED)
    set(cases "${A_EMULATED}")
    list(APPEND A_LABELS emulated)
    math(EXPR A_TIMEOUT "${A_TIMEOUT} * 5")
  endif()
  # Without the services (the fuzz preset, a bare GPU box) the tests of what they bring are left out.
  if(NOT WEFT_BUILD_SERVICES)
    foreach(dep IN LISTS A_DEPS)
      if(dep MATCHES "^weft::" AND NOT TARGET ${dep})
        return()
      endif()
    endforeach()
  endif()
  set(target test_${A_NAME})
  add_executable(${target} ${A_SRCS})
  target_link_libraries(${target} PRIVATE ${A_DEPS} weft::test_support)
  weft_warnings(${target})
  # GCC 13 and later see a reference into an object that outlives the call as dangling.
  if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU" AND CMAKE_CXX_COMPILER_VERSION VERSION_GREATER_EQUAL 13)
    target_compile_options(${target} PRIVATE -Wno-dangling-reference)
  endif()
  add_test(NAME ${A_NAME} COMMAND ${target} ${cases} WORKING_DIRECTORY "${CMAKE_SOURCE_DIR}")
  set_tests_properties(${A_NAME} PROPERTIES LABELS "${A_LABELS}" TIMEOUT ${A_TIMEOUT})
  if(NOT A_GRPC)
    add_dependencies(tests_without_grpc ${target})
  endif()
  if(cases)
    add_dependencies(emulated_tests ${target})
  endif()
endfunction()
