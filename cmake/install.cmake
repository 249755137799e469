# libesa, its public headers, and the package that find_package(esa) reads.
include(CMakePackageConfigHelpers)
add_library(esa::esa ALIAS esa)
set(ESA_PACKAGE_DIR ${CMAKE_INSTALL_LIBDIR}/cmake/esa)

install(TARGETS esa EXPORT esaTargets LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR})
install(DIRECTORY ${PROJECT_SOURCE_DIR}/include/esa DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
install(EXPORT esaTargets NAMESPACE esa:: DESTINATION ${ESA_PACKAGE_DIR})
configure_package_config_file(cmake/esaConfig.cmake.in ${PROJECT_BINARY_DIR}/esaConfig.cmake
  INSTALL_DESTINATION ${ESA_PACKAGE_DIR})
write_basic_package_version_file(${PROJECT_BINARY_DIR}/esaConfigVersion.cmake
  COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/esaConfig.cmake ${PROJECT_BINARY_DIR}/esaConfigVersion.cmake
  DESTINATION ${ESA_PACKAGE_DIR})
