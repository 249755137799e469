# cmake -DSOURCE_DIR=... -P api_test.cmake: fails when what plug-ins are compiled from has changed,
# comments and white space aside, and api_version.txt was not told. That file has the version and
# the hash of the headers it stands for.
cmake_minimum_required(VERSION 3.25)
set(text)
foreach(header options.h plugin.h result.h sparse_attention.h)
  file(READ ${SOURCE_DIR}/include/esa/${header} content)
  if(content MATCHES "kPluginApiVersion = ([0-9]+);")
    set(version ${CMAKE_MATCH_1})
  endif()
  string(APPEND text "${content}")
endforeach()
string(REGEX REPLACE "//[^\n]*" "" text "${text}")
string(REGEX REPLACE "[ \t\n]+" "" text "${text}")
string(REGEX REPLACE "kPluginApiVersion=[0-9]+" "" text "${text}")
string(SHA256 hash "${text}")
string(SUBSTRING ${hash} 0 16 hash)

file(STRINGS ${SOURCE_DIR}/tests/plugin/api_version.txt recorded)
if(NOT recorded STREQUAL "${version} ${hash}")
  message(FATAL_ERROR "A public header that plug-ins are compiled from has changed.\n"
    "Raise kPluginApiVersion in include/esa/plugin.h (once a release is enough) and write it, with "
    "this hash, into tests/plugin/api_version.txt:\n${version} ${hash}")
endif()
