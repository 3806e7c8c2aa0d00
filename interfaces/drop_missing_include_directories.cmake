# The ROS 2 wheels were built in a container: their imported targets still name its Python
# (/opt/python/..., /opt/_internal/...), and CMake refuses a target whose include folders do not exist.
# The message generator finds the running Python by itself, so these folders can simply be left out.
get_property(imported_targets DIRECTORY PROPERTY IMPORTED_TARGETS)
foreach(target IN LISTS imported_targets)
  get_target_property(include_directories ${target} INTERFACE_INCLUDE_DIRECTORIES)
  if(include_directories)
    list(FILTER include_directories EXCLUDE REGEX "^/opt/(python|_internal)/")
    set_target_properties(${target} PROPERTIES INTERFACE_INCLUDE_DIRECTORIES "${include_directories}")
  endif()
endforeach()
