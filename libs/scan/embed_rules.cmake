# cmake -DOUT=x.cc -DFILES=a.yaml|b.yaml -P embed_rules.cmake: the files as C++ string literals.
string(REPLACE "|" ";" files "${FILES}")
set(entries "")
foreach(path IN LISTS files)
  get_filename_component(name "${path}" NAME)
  file(READ "${path}" hex HEX)
  # Bytes, not a literal: a literal's length is limited, and its escapes would have to be right.
  string(REGEX REPLACE "([0-9a-f][0-9a-f])" "'\\\\x\\1'," bytes "${hex}")
  string(MAKE_C_IDENTIFIER "${name}" id)
  string(APPEND arrays "constexpr char k_${id}[] = {${bytes}};\n")
  string(APPEND entries "    {\"${name}\", {k_${id}, sizeof k_${id}}},\n")
endforeach()
file(WRITE "${OUT}" "// Made by libs/scan/embed_rules.cmake.
#include \"libs/scan/rule_set.h\"

namespace weft::scan {
namespace {
${arrays}
constexpr BuiltinRuleFile kFiles[] = {
${entries}};
}  // namespace

std::span<const BuiltinRuleFile> BuiltinRuleFiles() { return kFiles; }

}  // namespace weft::scan
")
