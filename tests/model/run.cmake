# Checks one model: see pannier_model. A search that ends early, or with an assertion that
# fails, a deadlock, or a run longer than DEPTH, is an error.
file(REMOVE_RECURSE "${FOLDER}")
file(MAKE_DIRECTORY "${FOLDER}")

function(run)
  execute_process(COMMAND ${ARGN} WORKING_DIRECTORY "${FOLDER}" RESULT_VARIABLE status
                  OUTPUT_VARIABLE output ERROR_VARIABLE output)
  if(NOT status EQUAL 0)
    message(FATAL_ERROR "${ARGN}: ${status}\n${output}")
  endif()
  set(output "${output}" PARENT_SCOPE)
endfunction()

run("${SPIN}" ${DEFINES} -a "${MODEL}")
# The verifier is plain C, generated: its warnings are not ours.
run("${CC}" -O2 -w -DSAFETY -DCOLLAPSE -DVECTORSZ=2048 -o pan pan.c)
run(./pan -b "-m${DEPTH}" -w23)
if(NOT output MATCHES "errors: ([0-9]+)")
  message(FATAL_ERROR "no result:\n${output}")
endif()
set(errors "${CMAKE_MATCH_1}")
if(FAILS)
  if(errors EQUAL 0)
    message(FATAL_ERROR "the model is broken on purpose, and nothing was found:\n${output}")
  endif()
elseif(NOT errors EQUAL 0 OR output MATCHES "Search not completed|truncated|max search depth")
  message(FATAL_ERROR "${output}")
endif()
message("${output}")
