# Toolchain: Debian's cross compiler, libraries out of the folder that deploy/tools/aarch64_sysroot.sh
# makes (`./weft build --preset aarch64` calls it), tests run by qemu-user.
set(CMAKE_SYSTEM_NAME Linux)
set(CMAKE_SYSTEM_PROCESSOR aarch64)
set(triple aarch64-linux-gnu)

if(DEFINED ENV{WEFT_HOME})
  set(weft_aarch64_default "$ENV{WEFT_HOME}/aarch64/sysroot")
else()
  set(weft_aarch64_default "${CMAKE_CURRENT_LIST_DIR}/../../.weft/aarch64/sysroot")
endif()
set(WEFT_AARCH64_SYSROOT "${weft_aarch64_default}" CACHE PATH "arm64 libraries")
get_filename_component(CMAKE_SYSROOT "${WEFT_AARCH64_SYSROOT}" ABSOLUTE)
# Checks that compile a program read this file again.
list(APPEND CMAKE_TRY_COMPILE_PLATFORM_VARIABLES WEFT_AARCH64_SYSROOT)
if(NOT EXISTS "${CMAKE_SYSROOT}/usr/lib/${triple}")
  message(FATAL_ERROR "No arm64 libraries in ${CMAKE_SYSROOT}: run ./weft build --preset aarch64")
endif()

set(CMAKE_C_COMPILER ${triple}-gcc)
set(CMAKE_CXX_COMPILER ${triple}-g++)
set(CMAKE_LIBRARY_ARCHITECTURE ${triple})
set(CMAKE_FIND_ROOT_PATH_MODE_PROGRAM NEVER)
set(CMAKE_FIND_ROOT_PATH_MODE_LIBRARY ONLY)
set(CMAKE_FIND_ROOT_PATH_MODE_INCLUDE ONLY)
set(CMAKE_FIND_ROOT_PATH_MODE_PACKAGE ONLY)
set(ENV{PKG_CONFIG_LIBDIR} "${CMAKE_SYSROOT}/usr/lib/${triple}/pkgconfig:${CMAKE_SYSROOT}/usr/share/pkgconfig")
set(ENV{PKG_CONFIG_SYSROOT_DIR} "${CMAKE_SYSROOT}")

# WEFT_QEMU_CPU chooses what the tests meet: `max` has the dot-product and the int8 matrix
# instructions, cortex-a72 neither.
set(CMAKE_CROSSCOMPILING_EMULATOR "${CMAKE_CURRENT_LIST_DIR}/../../deploy/tools/run_aarch64;${CMAKE_SYSROOT}")
