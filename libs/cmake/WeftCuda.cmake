# CUDA, and kernels that are compiled for a GPU and for the emulator (libs/device/simt) alike.
# weft_kernel_library(NAME x SRCS … HDRS … DEPS …): `SRCS` are .cu files that include
# libs/device/kernel.h and nothing of CUDA's.
#   weft::x_emulated  the sources as C++ for this machine's CPU, for tests; with WEFT_BUILD_TESTS
#   weft::x_cuda      the same sources compiled by nvcc; with WEFT_CUDA
option(WEFT_CUDA "Build the CUDA engine (needs a CUDA 13 toolkit: ./weft build --cuda)" OFF)
set(WEFT_CUDA_ARCHITECTURES "90a" CACHE STRING
    "GPU architectures: a list as in CMAKE_CUDA_ARCHITECTURES, or 'release' for all that are supported")

if(WEFT_CUDA)
  set(weft_architectures "${WEFT_CUDA_ARCHITECTURES}")
  if(weft_architectures STREQUAL "release")
    set(weft_architectures "80;89;90a;100a;120")
  endif()
  # Machine code only: what is not listed is not supported, and no driver compiles at start.
  list(TRANSFORM weft_architectures APPEND "-real")
  set(CMAKE_CUDA_ARCHITECTURES ${weft_architectures})
  set(CMAKE_CUDA_RUNTIME_LIBRARY Static)
  enable_language(CUDA)
  if(CMAKE_CUDA_COMPILER_VERSION VERSION_LESS 13)
    message(FATAL_ERROR "CUDA ${CMAKE_CUDA_COMPILER_VERSION} at ${CMAKE_CUDA_COMPILER}: 13 or later is needed")
  endif()
  if(WEFT_CCACHE)
    set(CMAKE_CUDA_COMPILER_LAUNCHER "${WEFT_CCACHE}")
  endif()
  # CUDA's own headers and static runtime, for host code.
  add_library(weft_cudart INTERFACE)
  target_include_directories(weft_cudart SYSTEM INTERFACE ${CMAKE_CUDA_TOOLKIT_INCLUDE_DIRECTORIES})
  get_filename_component(weft_cuda_bin "${CMAKE_CUDA_COMPILER}" DIRECTORY)
  find_library(WEFT_CUDART_STATIC cudart_static HINTS "${weft_cuda_bin}/../lib64" "${weft_cuda_bin}/../lib"
               REQUIRED)
  target_link_libraries(weft_cudart INTERFACE "${WEFT_CUDART_STATIC}" Threads::Threads ${CMAKE_DL_LIBS} rt)
  add_library(weft::cudart ALIAS weft_cudart)
  # Executables find the libraries that a bundle carries beside them (deploy/gpu/pack.sh).
  set(CMAKE_BUILD_RPATH "$ORIGIN/../lib")
  add_link_options(LINKER:--disable-new-dtags)
endif()

function(weft_kernel_library)
  cmake_parse_arguments(A "" "NAME" "HDRS;SRCS;DEPS" ${ARGN})
  if(WEFT_BUILD_TESTS)
    set(wrappers "")
    foreach(source IN LISTS A_SRCS)
      # One source, two languages: C++ sees it through a file that includes it.
      cmake_path(ABSOLUTE_PATH source BASE_DIRECTORY "${CMAKE_CURRENT_SOURCE_DIR}" OUTPUT_VARIABLE absolute)
      cmake_path(RELATIVE_PATH absolute BASE_DIRECTORY "${CMAKE_SOURCE_DIR}" OUTPUT_VARIABLE relative)
      get_filename_component(stem "${source}" NAME_WE)
      set(wrapper "${CMAKE_CURRENT_BINARY_DIR}/${stem}_emulated.cc")
      file(CONFIGURE OUTPUT "${wrapper}" CONTENT "#include \"${relative}\"\n")
      list(APPEND wrappers "${wrapper}")
    endforeach()
    weft_library(NAME ${A_NAME}_emulated HDRS ${A_HDRS} SRCS ${wrappers} DEPS ${A_DEPS} weft::simt
                 weft::emulated_device)
    # `#pragma unroll` is nvcc's; clang knows it and says where it cannot.
    target_compile_options(weft_${A_NAME}_emulated PRIVATE -Wno-unknown-pragmas
                                                           $<$<CXX_COMPILER_ID:Clang>:-Wno-pass-failed>)
  endif()
  if(WEFT_CUDA)
    add_library(weft_${A_NAME}_cuda STATIC ${A_SRCS} ${A_HDRS})
    target_include_directories(weft_${A_NAME}_cuda PUBLIC "${CMAKE_SOURCE_DIR}")
    target_link_libraries(weft_${A_NAME}_cuda PUBLIC ${A_DEPS} weft::cudart)
    # CMake 3.25 knows no C++20 for this nvcc. Warnings of the host pass are g++'s affair elsewhere.
    target_compile_options(weft_${A_NAME}_cuda PRIVATE -std=c++20 -O3 --expt-relaxed-constexpr -Werror all-warnings)
    set_target_properties(weft_${A_NAME}_cuda PROPERTIES CUDA_STANDARD_REQUIRED OFF)
    add_library(weft::${A_NAME}_cuda ALIAS weft_${A_NAME}_cuda)
  endif()
endfunction()
