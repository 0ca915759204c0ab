#include "libs/limits/address_key.h"

#include "tests/support/catch.h"

using weft::limits::AddressKey;

TEST_CASE("An IPv4 address is the same however a server names it", "[limits]") {
  for (const char* name : {"192.0.2.7", "192.0.2.7:4711", "ipv4:192.0.2.7:4711", "::ffff:192.0.2.7",
                           "ipv6:%5B::ffff:192.0.2.7%5D:4711"}) {
    CAPTURE(name);
    CHECK(AddressKey(name) == "192.0.2.7");
  }
  CHECK(AddressKey("192.0.2.8") != AddressKey("192.0.2.7"));
}

TEST_CASE("All IPv6 addresses of a /64 are one party", "[limits]") {
  for (const char* name : {"2001:db8:0:1::1", "2001:db8:0:1:ffff::9", "[2001:db8:0:1::1]:80",
                           "ipv6:%5B2001:db8:0:1::1%5D:4711", "ipv6:[2001:db8:0:1::2]:4711",
                           "2001:db8:0:1::1%eth0", "ipv6:%5B2001:db8:0:1::1%25eth0%5D:1"}) {
    CAPTURE(name);
    CHECK(AddressKey(name) == "20010db800000001/64");
  }
  CHECK(AddressKey("2001:db8:0:2::1") != AddressKey("2001:db8:0:1::1"));
}

TEST_CASE("What is no internet address is local", "[limits]") {
  for (const char* name :
       {"", "unix:", "unix:/run/x.sock", "inproc", "ipv4:", "ipv6:%5B", "999.1.1.1", "1:2:3"}) {
    CAPTURE(name);
    CHECK(AddressKey(name) == "local");
  }
}
