# Installs the built library under WORK_DIR, builds consumer/ against that copy (WAY is
# cmake: find_package; or pkgconfig: the bare compiler) and runs what came out.
cmake_minimum_required(VERSION 3.25)
set(prefix "${WORK_DIR}/prefix")
set(consumer "${CMAKE_CURRENT_LIST_DIR}/consumer")
cmake_path(SET examples NORMALIZE "${CMAKE_CURRENT_LIST_DIR}/../../examples")
file(REMOVE_RECURSE "${WORK_DIR}")
file(MAKE_DIRECTORY "${WORK_DIR}")

function(run)
  execute_process(COMMAND ${ARGN} WORKING_DIRECTORY "${WORK_DIR}" RESULT_VARIABLE result
                  OUTPUT_VARIABLE output ERROR_VARIABLE output)
  if(NOT result EQUAL 0)
    list(JOIN ARGN " " command)
    message(FATAL_ERROR "failed (${result}): ${command}\n${output}")
  endif()
  set(output "${output}" PARENT_SCOPE)
endfunction()

run("${CMAKE_COMMAND}" --install "${BUILD_DIR}" --prefix "${prefix}" --component development)

if(WAY STREQUAL "cmake")
  run("${CMAKE_COMMAND}" -S "${consumer}" -B build -G Ninja "-DCMAKE_PREFIX_PATH=${prefix}"
      "-DCMAKE_CXX_COMPILER=${CXX}" "-DWANTED_VERSION=${VERSION}"
      "-DEXAMPLES=${examples}")
  run("${CMAKE_COMMAND}" --build build)
  set(programs "${WORK_DIR}/build")
else()
  # The copy is moved first: pannier.pc must not name the place where it was installed.
  file(RENAME "${prefix}" "${prefix}-moved")
  set(ENV{PKG_CONFIG_PATH} "${prefix}-moved/${LIBDIR}/pkgconfig")
  run(pkg-config --exact-version=${VERSION} pannier)
  run(pkg-config --cflags --libs pannier)
  separate_arguments(flags UNIX_COMMAND "${output}")

  # All that is installed, in one file: an installed header includes no header that is not.
  file(GLOB_RECURSE headers RELATIVE "${prefix}-moved/include" "${prefix}-moved/include/*.h")
  list(TRANSFORM headers REPLACE "(.+)" "#include <\\1>")
  list(JOIN headers "\n" includes)
  file(WRITE "${WORK_DIR}/all_headers.cc" "${includes}\n")
  run("${CXX}" -std=c++20 -Wall -Wextra -Werror -fsyntax-only all_headers.cc ${flags})

  file(GLOB sources "${consumer}/*.cc" "${examples}/hello_*.cc")
  foreach(source IN LISTS sources)
    get_filename_component(program "${source}" NAME_WE)
    run("${CXX}" -std=c++20 -Wall -Wextra -Werror "${source}" -o ${program} ${flags})
  endforeach()
  set(programs "${WORK_DIR}")
endif()

run("${programs}/version" "${VERSION}")
run("${programs}/call")

# The client waits for its server, so either may start first.
run(sh -c "cd '${programs}'
./hello_server ipc://hello.sock &
./hello_client ipc://hello.sock
status=$?
kill $!
exit $status")
if(NOT output STREQUAL "2\n4\n6\n")
  message(FATAL_ERROR "hello_client printed: ${output}")
endif()
