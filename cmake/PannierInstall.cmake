# What is installed: static libraries, public headers, the CMake package and pannier.pc,
# all of the component `development`. The Python module is the component `python` and is
# left to its own build, which makes a wheel of it.
include(CMakePackageConfigHelpers)

pannier_list_fuzzers()
get_property(layers GLOBAL PROPERTY PANNIER_LAYERS)

# pannier::pannier: all of C++. The umbrella header <pannier/pannier.h> comes with it, and
# with pannier::rpc, the highest layer.
add_library(pannier_pannier INTERFACE)
add_library(pannier::pannier ALIAS pannier_pannier)
set_target_properties(pannier_pannier PROPERTIES EXPORT_NAME pannier)
set(tree "${PROJECT_BINARY_DIR}/include/umbrella")
file(MAKE_DIRECTORY "${tree}/pannier")
file(CREATE_LINK "${PROJECT_SOURCE_DIR}/rpc/pannier.h" "${tree}/pannier/pannier.h" SYMBOLIC)
target_include_directories(pannier_pannier INTERFACE
  $<BUILD_INTERFACE:${tree}> $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}>)
if(TARGET pannier_rpc)
  target_include_directories(pannier_rpc PUBLIC $<BUILD_INTERFACE:${tree}>)
endif()
foreach(layer IN LISTS layers)
  target_link_libraries(pannier_pannier INTERFACE pannier::${layer})
endforeach()
install(TARGETS pannier_pannier EXPORT pannierTargets COMPONENT development)
install(FILES rpc/pannier.h COMPONENT development DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/pannier)

# find_package(pannier CONFIG)
set(package_dir ${CMAKE_INSTALL_LIBDIR}/cmake/pannier)
configure_package_config_file(cmake/pannierConfig.cmake.in
  "${PROJECT_BINARY_DIR}/package/pannierConfig.cmake" INSTALL_DESTINATION ${package_dir})
write_basic_package_version_file("${PROJECT_BINARY_DIR}/package/pannierConfigVersion.cmake"
  COMPATIBILITY SameMinorVersion)
install(FILES "${PROJECT_BINARY_DIR}/package/pannierConfig.cmake"
              "${PROJECT_BINARY_DIR}/package/pannierConfigVersion.cmake"
        COMPONENT development DESTINATION ${package_dir})
install(EXPORT pannierTargets NAMESPACE pannier:: COMPONENT development DESTINATION ${package_dir})

# pkg-config. The libraries are static, so what they need is needed by whoever links
# them: Requires, not Requires.private, computed from what the targets link.
set(pc_libs "")
set(pc_requires "")
foreach(layer IN LISTS layers)
  string(PREPEND pc_libs "-lpannier_${layer} ")  # a library stands before those it uses
  get_target_property(links pannier_${layer} LINK_LIBRARIES)
  foreach(link IN LISTS links)
    if(link MATCHES "^absl::(.*)$")
      list(APPEND pc_requires "absl_${CMAKE_MATCH_1}")
    elseif(link STREQUAL "PkgConfig::ZeroMQ")
      list(APPEND pc_requires "libzmq >= 4.3")
    endif()
  endforeach()
endforeach()
list(REMOVE_DUPLICATES pc_requires)
list(JOIN pc_requires ", " pc_requires)
foreach(dir LIBDIR INCLUDEDIR)
  if(IS_ABSOLUTE "${CMAKE_INSTALL_${dir}}")
    set(pc_${dir} "${CMAKE_INSTALL_${dir}}")
  else()
    set(pc_${dir} "\${prefix}/${CMAKE_INSTALL_${dir}}")
  endif()
endforeach()
# The prefix is found from where pannier.pc lies, so that an installed tree can be moved.
if(IS_ABSOLUTE "${CMAKE_INSTALL_LIBDIR}")
  set(pc_prefix "${CMAKE_INSTALL_PREFIX}")
else()
  file(RELATIVE_PATH pc_prefix "/prefix/${CMAKE_INSTALL_LIBDIR}/pkgconfig" "/prefix")
  string(REGEX REPLACE "/$" "" pc_prefix "\${pcfiledir}/${pc_prefix}")
endif()
configure_file(cmake/pannier.pc.in "${PROJECT_BINARY_DIR}/package/pannier.pc" @ONLY)
install(FILES "${PROJECT_BINARY_DIR}/package/pannier.pc" COMPONENT development
        DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
