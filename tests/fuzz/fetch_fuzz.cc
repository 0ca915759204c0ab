// Any text as what a server, a registry or a file of passwords says: refused with a message, or
// something that stays within the folder.
#include <cstddef>
#include <cstdint>

#include "libs/base/status.h"
#include "libs/fetch/http_get.h"
#include "libs/fetch/oci.h"
#include "libs/fetch/source.h"

using namespace weft::fetch;  // NOLINT: a program of one function

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  if (const auto layers = ParseManifest(text); layers.ok()) {
    for (const OciLayer& layer : *layers) WEFT_CHECK(CheckName(layer.name).ok());
  }
  if (const auto challenge = ParseChallenge(text); challenge.ok()) {
    WEFT_CHECK(challenge->parameters.size() <= 16);
  }
  if (const auto range = ParseContentRange(text)) WEFT_CHECK(range->first <= range->last);
  static_cast<void>(DockerAuth(text, "r"));
  static_cast<void>(ShownUrl(text));
  const std::string locator(text.substr(0, 2000));
  if (!locator.starts_with("oci://")) {  // that one is asked
    if (const auto files = Resolve(locator, {}); files.ok()) {
      WEFT_CHECK(!files->empty() && files->size() <= 1000);
      for (const RemoteFile& file : *files) WEFT_CHECK(CheckName(file.name).ok());
    }
  } else if (const auto reference = ParseOciReference(locator); reference.ok()) {
    WEFT_CHECK(!reference->host.empty() && !reference->name.empty());
  }
  return 0;
}
