# One library target per folder. Each target's headers are reached as
# <pannier/FOLDER/NAME.h> through an include directory that holds that folder
# alone, so a layer sees its own headers and those of the layers it links, and an
# include that points up in the table of docs/architecture.md does not build.

set(CMAKE_CXX_STANDARD 20)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS OFF)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)
set(CMAKE_CXX_VISIBILITY_PRESET hidden)
set(CMAKE_VISIBILITY_INLINES_HIDDEN ON)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)
if(NOT CMAKE_BUILD_TYPE AND NOT CMAKE_CONFIGURATION_TYPES)
  set(CMAKE_BUILD_TYPE Release CACHE STRING "Build type" FORCE)
endif()

add_library(pannier_flags INTERFACE)
target_compile_options(pannier_flags INTERFACE -Wall -Wextra -Wshadow -Wnon-virtual-dtor
                       $<$<BOOL:${PANNIER_WARNINGS_AS_ERRORS}>:-Werror>)
# GCC 12 warns of its own std::string concatenation and of the storage of absl::InlinedVector when
# it optimises (GCC bug 105651).
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU" AND CMAKE_CXX_COMPILER_VERSION VERSION_LESS 13)
  target_compile_options(pannier_flags INTERFACE -Wno-restrict -Wno-maybe-uninitialized)
endif()
if(PANNIER_SANITIZE)
  target_compile_options(pannier_flags INTERFACE -fsanitize=${PANNIER_SANITIZE}
                         -fno-omit-frame-pointer -fno-sanitize-recover=all)
  target_link_options(pannier_flags INTERFACE -fsanitize=${PANNIER_SANITIZE})
  # With sanitizers GCC takes the branches that it cannot rule out any more for real ones.
  if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
    target_compile_options(pannier_flags INTERFACE -Wno-maybe-uninitialized)
  endif()
endif()

# pannier_library(FOLDER SOURCES ... HEADERS ... [DEPENDS ...] [PRIVATE_DEPENDS ...])
# makes pannier_FOLDER, alias pannier::FOLDER. HEADERS are the public ones: installed,
# and compiled one by one by tests/install. PannierInstall.cmake exports what is in the
# global property PANNIER_LAYERS, lowest layer first.
function(pannier_library folder)
  cmake_parse_arguments(ARG "" "" "SOURCES;HEADERS;DEPENDS;PRIVATE_DEPENDS" ${ARGN})
  set(target pannier_${folder})
  add_library(${target} STATIC ${ARG_SOURCES})
  add_library(pannier::${folder} ALIAS ${target})
  set(tree "${PROJECT_BINARY_DIR}/include/${folder}")
  file(MAKE_DIRECTORY "${tree}/pannier")
  file(CREATE_LINK "${CMAKE_CURRENT_SOURCE_DIR}" "${tree}/pannier/${folder}" SYMBOLIC)
  target_include_directories(${target} PUBLIC
    $<BUILD_INTERFACE:${tree}> $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}>)
  target_compile_features(${target} PUBLIC cxx_std_20)
  target_link_libraries(${target} PUBLIC ${ARG_DEPENDS}
    PRIVATE $<BUILD_INTERFACE:pannier_flags> ${ARG_PRIVATE_DEPENDS})
  set_target_properties(${target} PROPERTIES EXPORT_NAME ${folder} PANNIER_HEADERS "${ARG_HEADERS}")
  set_property(GLOBAL APPEND PROPERTY PANNIER_LAYERS ${folder})
  install(TARGETS ${target} EXPORT pannierTargets COMPONENT development
          ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR})
  foreach(header IN LISTS ARG_HEADERS)
    get_filename_component(subfolder "${header}" DIRECTORY)
    install(FILES ${header} COMPONENT development
            DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/pannier/${folder}/${subfolder})
  endforeach()
endfunction()

# pannier_test(NAME SOURCES ... DEPENDS ... [LABELS ...] [TIMEOUT seconds]): a gtest program.
function(pannier_test name)
  cmake_parse_arguments(ARG "" "TIMEOUT" "SOURCES;DEPENDS;LABELS" ${ARGN})
  if(NOT ARG_TIMEOUT)
    set(ARG_TIMEOUT 120)
  endif()
  add_executable(${name} ${ARG_SOURCES})
  target_link_libraries(${name} PRIVATE ${ARG_DEPENDS} pannier_flags GTest::gtest GTest::gmock
                        GTest::gtest_main Threads::Threads)
  add_test(NAME ${name} COMMAND ${name})
  set_tests_properties(${name} PROPERTIES TIMEOUT ${ARG_TIMEOUT} LABELS "${ARG_LABELS}")
endfunction()

# pannier_fuzzer(NAME SOURCES ... DEPENDS ... [CORPUS folder]): a libFuzzer program, when
# asked for; part of the target `fuzzers`. CORPUS holds seed inputs, one a file.
function(pannier_fuzzer name)
  if(NOT PANNIER_BUILD_FUZZERS)
    return()
  endif()
  cmake_parse_arguments(ARG "" "CORPUS" "SOURCES;DEPENDS" ${ARGN})
  add_executable(${name} ${ARG_SOURCES})
  target_link_libraries(${name} PRIVATE ${ARG_DEPENDS} pannier_flags)
  target_link_options(${name} PRIVATE -fsanitize=fuzzer)
  if(NOT TARGET fuzzers)
    add_custom_target(fuzzers)
  endif()
  add_dependencies(fuzzers ${name})
  if(ARG_CORPUS)
    get_filename_component(ARG_CORPUS "${ARG_CORPUS}" ABSOLUTE)
  endif()
  set_property(GLOBAL APPEND_STRING PROPERTY PANNIER_FUZZERS "$<TARGET_FILE:${name}> ${ARG_CORPUS}\n")
endfunction()

# Writes fuzzers.txt, a line per fuzzer: its program and its corpus, for the script that runs them.
function(pannier_list_fuzzers)
  get_property(fuzzers GLOBAL PROPERTY PANNIER_FUZZERS)
  if(PANNIER_BUILD_FUZZERS)
    file(GENERATE OUTPUT "${PROJECT_BINARY_DIR}/fuzzers.txt" CONTENT "${fuzzers}")
  endif()
endfunction()
