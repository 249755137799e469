# esa_module(NAME SOURCES ... [DEPENDS modules] [LINK libraries] [TESTS ...] [BENCHES ...])
#
# One module of src/: a static library esa_NAME, a test program esa_NAME_test of its *_test.cc, a
# program esa_NAME_bench of its *_bench.cc. esa_add_library() binds all modules into libesa.
add_library(esa_options INTERFACE)
target_compile_options(esa_options INTERFACE
  -Wall -Wextra -Wshadow -Wnon-virtual-dtor -Wno-unused-parameter
  $<$<BOOL:${ESA_WERROR}>:-Werror>
  $<$<CXX_COMPILER_ID:GNU>:-fno-semantic-interposition>)
if(ESA_SANITIZE)
  # Not a generator expression: the list of sanitizers has commas.
  target_compile_options(esa_options INTERFACE
    -fsanitize=${ESA_SANITIZE} -fno-omit-frame-pointer -g
    # GCC's analysis is wrong about instrumented code (std::regex), and its manual says so.
    $<$<CXX_COMPILER_ID:GNU>:-Wno-maybe-uninitialized>)
  target_link_options(esa_options INTERFACE -fsanitize=${ESA_SANITIZE})
endif()
target_include_directories(esa_options INTERFACE
  ${PROJECT_SOURCE_DIR}/src
  $<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}/include>)

set_property(GLOBAL PROPERTY ESA_MODULES)

function(esa_module name)
  cmake_parse_arguments(PARSE_ARGV 1 arg "" "" "SOURCES;DEPENDS;LINK;TESTS;BENCHES")
  set(library esa_${name})
  add_library(${library} STATIC ${arg_SOURCES})
  list(TRANSFORM arg_DEPENDS PREPEND esa_)
  target_link_libraries(${library} PUBLIC ${arg_DEPENDS} PRIVATE esa_options ${arg_LINK})
  target_include_directories(${library} PUBLIC
    ${PROJECT_SOURCE_DIR}/src ${PROJECT_SOURCE_DIR}/include)
  set_property(GLOBAL APPEND PROPERTY ESA_MODULES ${library})
  if(ESA_BUILD_TESTS AND arg_TESTS)
    esa_test(${library}_test SOURCES ${arg_TESTS} LINK ${library} ${arg_LINK})
  endif()
  if(ESA_BUILD_BENCHES AND arg_BENCHES)
    add_executable(${library}_bench ${arg_BENCHES})
    target_link_libraries(${library}_bench PRIVATE
      ${library} esa_options ${arg_LINK} benchmark::benchmark_main)
  endif()
endfunction()

# esa_test(NAME SOURCES ... LINK ...): a GoogleTest program, each of its tests known to ctest.
function(esa_test name)
  cmake_parse_arguments(PARSE_ARGV 1 arg "" "" "SOURCES;LINK")
  add_executable(${name} ${arg_SOURCES})
  target_link_libraries(${name} PRIVATE esa_options ${arg_LINK} GTest::gmock GTest::gtest_main)
  target_compile_definitions(${name} PRIVATE ESA_SOURCE_DIR="${PROJECT_SOURCE_DIR}")
  gtest_discover_tests(${name} DISCOVERY_TIMEOUT 120 PROPERTIES TIMEOUT 300)
endfunction()

function(esa_add_library)
  get_property(modules GLOBAL PROPERTY ESA_MODULES)
  add_library(esa SHARED)
  set_target_properties(esa PROPERTIES VERSION ${PROJECT_VERSION} SOVERSION 0)
  # The modules' objects, so that nothing registered is left out; the archives bring what they link.
  foreach(module IN LISTS modules)
    target_sources(esa PRIVATE $<TARGET_OBJECTS:${module}>)
  endforeach()
  target_link_libraries(esa PRIVATE ${modules} esa_options)
  target_include_directories(esa PUBLIC
    $<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}/include>
    $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}>)
  target_compile_features(esa PUBLIC cxx_std_20)
endfunction()
