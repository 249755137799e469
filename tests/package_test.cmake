# Installs esa into a folder of its own, builds the example against it as a user would, runs it.
# Expects: BUILD_DIR SOURCE_DIR WORK_DIR CXX_COMPILER CXX_FLAGS ESA
cmake_minimum_required(VERSION 3.25)

function(run)
  execute_process(COMMAND ${ARGN} RESULT_VARIABLE result OUTPUT_VARIABLE output ERROR_VARIABLE output)
  message("${output}")
  if(NOT result EQUAL 0)
    list(JOIN ARGN " " command)
    message(FATAL_ERROR "${result}: ${command}")
  endif()
  set(output "${output}" PARENT_SCOPE)
endfunction()

function(expect pattern)
  if(NOT output MATCHES "${pattern}")
    message(FATAL_ERROR "expected in the output: ${pattern}")
  endif()
endfunction()

set(model ${SOURCE_DIR}/models/esa-needle)
file(REMOVE_RECURSE ${WORK_DIR})
file(MAKE_DIRECTORY ${WORK_DIR})

run(${CMAKE_COMMAND} --install ${BUILD_DIR} --prefix ${WORK_DIR}/prefix)
# From a copy, so that nothing of the source tree can be found by a relative path.
file(COPY ${SOURCE_DIR}/examples DESTINATION ${WORK_DIR})
run(${CMAKE_COMMAND} -S ${WORK_DIR}/examples -B ${WORK_DIR}/build
  -DCMAKE_PREFIX_PATH=${WORK_DIR}/prefix
  -DCMAKE_CXX_COMPILER=${CXX_COMPILER} "-DCMAKE_CXX_FLAGS=${CXX_FLAGS}")
run(${CMAKE_COMMAND} --build ${WORK_DIR}/build)

run(${WORK_DIR}/prefix/bin/esa eval generate --task needle --tokens 2000 --count 2
  --model ${model} --out ${WORK_DIR}/records.jsonl)
set(offline ${WORK_DIR}/build/offline_inference_esa ${model} ${WORK_DIR}/records.jsonl
  ${WORK_DIR}/store)
run(${offline})
expect("; sparse")
expect(" 0 of them restored")
# A second process finds the prompts' blocks.
run(${offline})
expect(" [1-9][0-9]+ of them restored")
