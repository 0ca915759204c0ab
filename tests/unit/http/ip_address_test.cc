#include "libs/http/ip_address.h"

#include "libs/base/status.h"
#include "tests/support/catch.h"

using weft::http::FindClient;
using weft::http::ForwardedHeader;
using weft::http::Headers;
using weft::http::IpAddress;
using weft::http::IpNetwork;
using weft::http::ParseNetworks;

TEST_CASE("Addresses are read with ports, brackets and zones, and mapped ones are IPv4", "[http]") {
  const auto text = [](std::string_view in) {
    const auto address = IpAddress::Parse(in);
    return address ? address->ToString() : "none";
  };
  CHECK(text("192.0.2.7") == "192.0.2.7");
  CHECK(text("192.0.2.7:443") == "192.0.2.7");
  CHECK(text("::ffff:192.0.2.7") == "192.0.2.7");
  CHECK(text("[2001:DB8::1]:443") == "2001:db8::1");
  CHECK(text("fe80::1%eth0") == "fe80::1");
  for (const char* bad : {"", "x", "1.2.3", "1.2.3.4:", "1.2.3.4:99999999", "[::1", "[::1]x",
                          "unknown", "_hidden", "1.2.3.4 ", "0x7f000001", "01.2.3.4"}) {
    CAPTURE(bad);
    CHECK(text(bad) == "none");
  }
}

TEST_CASE("A network contains what its prefix says and nothing else", "[http]") {
  const auto contains = [](std::string_view network, std::string_view address) {
    const auto parsed = IpNetwork::Parse(network);
    REQUIRE(parsed.ok());
    return parsed->Contains(*IpAddress::Parse(address));
  };
  CHECK(contains("10.0.0.0/8", "10.255.0.1"));
  CHECK_FALSE(contains("10.0.0.0/8", "11.0.0.0"));
  CHECK(contains("10.0.0.0/8", "::ffff:10.1.2.3"));
  CHECK(contains("192.0.2.128/25", "192.0.2.200"));
  CHECK_FALSE(contains("192.0.2.128/25", "192.0.2.127"));
  CHECK(contains("192.0.2.7", "192.0.2.7"));
  CHECK_FALSE(contains("192.0.2.7", "192.0.2.6"));
  CHECK(contains("0.0.0.0/0", "255.255.255.255"));
  CHECK_FALSE(contains("0.0.0.0/0", "2001:db8::1"));
  CHECK(contains("::/0", "2001:db8::1"));
  CHECK(contains("2001:db8::/33", "2001:db8:7fff::1"));
  CHECK_FALSE(contains("2001:db8::/33", "2001:db8:8000::1"));
  for (const char* bad : {"", "10.0.0.0/33", "10.0.0.1/8", "10.0.0.0/", "10.0.0.0/8x", "::/129",
                          "10.0.0.0:80/8", "[::1]", "fe80::1%1", "example.org", "10.0.0.0/-1"}) {
    CAPTURE(bad);
    CHECK_FALSE(IpNetwork::Parse(bad).ok());
  }
}

TEST_CASE("The client is the first address from the right that no trusted proxy has", "[http]") {
  const auto trusted = *ParseNetworks({"10.0.0.0/8", "2001:db8:f::/48"});
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
  const auto trusted = *ParseNetworks({"10.0.0.0/8"});
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
