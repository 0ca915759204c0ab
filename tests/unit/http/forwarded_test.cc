#include "libs/http/forwarded.h"

#include "tests/support/catch.h"

using weft::ParseNetworks;
using weft::http::FindClient;
using weft::http::ForwardedHeader;
using weft::http::Headers;

TEST_CASE("The client is the first address from the right that no trusted proxy has", "[http]") {
  const auto trusted = *ParseNetworks(std::vector<std::string>{"10.0.0.0/8", "2001:db8:f::/48"});
  const auto find = [&](std::vector<std::string> values, std::string_view peer = "10.0.0.1",
                        ForwardedHeader header = ForwardedHeader::kXForwardedFor) {
    Headers headers;
    for (const std::string& value : values)
      headers.Add(header == ForwardedHeader::kForwarded ? "forwarded" : "x-forwarded-for", value);
    const auto client = FindClient(headers, peer, trusted, header);
    return client ? client->address : std::string("none");
  };
  CHECK(find({"192.0.2.7"}) == "192.0.2.7");
  CHECK(find({"1.1.1.1, 192.0.2.7"}) == "192.0.2.7");  // 1.1.1.1 is the client's own claim
  CHECK(find({"1.1.1.1, 192.0.2.7, 10.0.0.2"}) == "192.0.2.7");  // two trusted hops
  CHECK(find({"1.1.1.1", "192.0.2.7", "10.0.0.2"}) == "192.0.2.7");
  CHECK(find({"10.9.9.9"}) == "10.9.9.9");  // all are trusted: the outermost
  CHECK(find({}) == "10.0.0.1");
  CHECK(find({"192.0.2.7"}, "203.0.113.5") == "none");  // who connects is nobody's proxy
  CHECK(find({"192.0.2.7, garbage"}) == "10.0.0.1");
  CHECK(find({"192.0.2.7, , 10.0.0.2"}) == "10.0.0.2");
  CHECK(find({"unknown, 10.0.0.2"}) == "10.0.0.2");
  CHECK(find({"[2001:db8::5]:4711"}) == "2001:db8::5");
  CHECK(find({"2001:db8::5, 2001:db8:f::1"}, "2001:db8:f::2") == "2001:db8::5");
  CHECK(find({"::ffff:192.0.2.7"}, "::ffff:10.0.0.1") == "192.0.2.7");
  CHECK(find({"192.0.2.7"}, "10.0.0.1", ForwardedHeader::kNone) == "none");

  const auto forwarded = ForwardedHeader::kForwarded;
  CHECK(find({"for=192.0.2.7;proto=https"}, "10.0.0.1", forwarded) == "192.0.2.7");
  CHECK(find({"For=\"[2001:db8::5]:80\" ; by=10.0.0.1"}, "10.0.0.1", forwarded) == "2001:db8::5");
  CHECK(find({"for=1.1.1.1, for=192.0.2.7, for=10.0.0.2"}, "10.0.0.1", forwarded) == "192.0.2.7");
  CHECK(find({"for=192.0.2.7, for=_hidden"}, "10.0.0.1", forwarded) == "10.0.0.1");
}

TEST_CASE("Only a trusted hop says that the client spoke TLS", "[http]") {
  const auto trusted = *ParseNetworks(std::vector<std::string>{"10.0.0.0/8"});
  Headers headers;
  headers.Add("X-Forwarded-For", "192.0.2.7");
  headers.Add("X-Forwarded-Proto", "https");
  CHECK(FindClient(headers, "10.0.0.1", trusted, ForwardedHeader::kXForwardedFor)->https);
  CHECK_FALSE(FindClient(headers, "192.0.2.1", trusted, ForwardedHeader::kXForwardedFor));
  Headers forwarded;
  forwarded.Add("Forwarded",
                "for=1.1.1.1;proto=https, for=192.0.2.7;proto=http, for=10.0.0.9;proto=https");
  const auto client = FindClient(forwarded, "10.0.0.1", trusted, ForwardedHeader::kForwarded);
  CHECK(client->address == "192.0.2.7");
  CHECK_FALSE(client->https);
}
