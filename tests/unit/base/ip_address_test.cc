#include "libs/base/ip_address.h"

#include <string>
#include <vector>

#include "libs/base/status.h"
#include "tests/support/catch.h"

using weft::IpAddress;
using weft::IpNetwork;
using weft::ParseNetworks;

TEST_CASE("Addresses are read with ports, brackets and zones, and mapped ones are IPv4", "[base]") {
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

TEST_CASE("A network contains what its prefix says and nothing else", "[base]") {
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
  for (const char* bad :
       {"", "10.0.0.0/33", "10.0.0.1/8", "10.0.0.0/", "10.0.0.0/8x", "::/129", "10.0.0.0:80/8",
        "192.0.2.7/24", "/8", "1.2.3", "[::1]", "fe80::1%1", "example.org", "10.0.0.0/-1"}) {
    CAPTURE(bad);
    CHECK_FALSE(IpNetwork::Parse(bad).ok());
  }
}

TEST_CASE("A peer is in its networks, however it is written", "[base]") {
  const auto list = ParseNetworks(
      std::vector<std::string>{"192.0.2.7", "198.51.100.0/25", "2001:db8::/33", "10.0.0.0/8"});
  REQUIRE(list.ok());
  const auto contains = [&](std::string_view peer) {
    const auto address = IpAddress::ParsePeer(peer);
    return address && AnyContains(*list, *address);
  };
  for (const char* in : {"192.0.2.7", "192.0.2.7:80", "ipv4:192.0.2.7:4711", "::ffff:192.0.2.7",
                         "[::ffff:192.0.2.7]:80", "198.51.100.127", "2001:db8:7fff::1",
                         "ipv6:%5B2001:db8::1%5D:4711", "2001:db8::1%eth0", "10.255.1.2"}) {
    CAPTURE(in);
    CHECK(contains(in));
  }
  for (const char* out :
       {"192.0.2.8", "198.51.100.128", "2001:db8:8000::1", "11.0.0.1", "", "unix:/x", "::", "x",
        "[", "[]", "192.0.2.7.1", "0192.0.2.7", "ipv6:%5B", "ipv6:%5B2001:db8::1", "ipv4:"}) {
    CAPTURE(out);
    CHECK_FALSE(contains(out));
  }
}
