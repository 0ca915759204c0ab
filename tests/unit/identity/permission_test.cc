#include "libs/identity/permission.h"

#include "libs/base/status.h"
#include "libs/identity/principal.h"
#include "libs/identity/role.h"
#include "tests/support/catch.h"

using namespace weft::identity;

namespace {

Principal With(std::vector<std::string> roles, const RoleDirectory& book = *BuiltInRoleBook()) {
  Principal principal;
  principal.tenant = "red";
  REQUIRE(GrantRoles(book, std::move(roles), principal).ok());
  return principal;
}

}  // namespace

// What each built-in role may do, written down a second time: a grant does not change unseen.
TEST_CASE("Each built-in role has exactly these permissions", "[identity]") {
  const std::vector<std::pair<std::string, std::vector<std::string>>> expected = {
      {"operator",
       {"self:read", "models:read", "models:use", "models:prioritize", "models:manage", "keys:read",
        "tenants:read", "projects:read", "users:read", "roles:read", "quotas:read", "quotas:write",
        "usage:read", "settings:read", "cache:read", "cache:clear"}},
      {"developer",
       {"self:read", "models:read", "models:use", "projects:read", "quotas:read", "usage:read"}},
      {"viewer", {"self:read", "models:read", "projects:read", "quotas:read", "usage:read"}},
      {"auditor",
       {"self:read", "models:read", "keys:read", "tenants:read", "projects:read", "users:read",
        "roles:read", "quotas:read", "usage:read", "audit:read", "settings:read", "cache:read"}},
  };
  for (const auto& [role, names] : expected) {
    CAPTURE(role);
    CHECK(PermissionNames(With({role}).permissions) == names);
  }
  CHECK(With({"admin"}).permissions == PermissionSet::All());
  CHECK(PermissionTable().size() == kPermissionCount);
  CHECK(expected.size() + 1 == BuiltInRoles().size());
}

TEST_CASE("A guard asks for a principal, then for its permission", "[identity]") {
  const Principal viewer = With({"viewer"});
  const Principal nobody = With({"no-such-role"});
  const Guard use = Permission::kModelsUse;
  CHECK(CheckGuard(Guard::Public(), nullptr).ok());
  CHECK(CheckGuard(use, nullptr).code() == absl::StatusCode::kUnauthenticated);
  const absl::Status refused = CheckGuard(use, &viewer);
  CHECK(refused.code() == absl::StatusCode::kPermissionDenied);
  CHECK(weft::Message(refused).find("'models:use'") != std::string_view::npos);
  CHECK(CheckGuard(Permission::kModelsRead, &viewer).ok());
  CHECK_FALSE(CheckGuard(Permission::kSelfRead, &nobody).ok());
  const Principal both = With({"developer", "auditor"});
  CHECK(CheckGuard(use, &both).ok());
  CHECK(CheckGuard(Permission::kAuditRead, &both).ok());
  CHECK_FALSE(CheckGuard(Permission::kKeysWrite, &both).ok());
  CHECK(Guard::Public().name() == "public");
  CHECK(use.name() == "models:use");
}

TEST_CASE("Only tenants:cross reaches another tenant", "[identity]") {
  CHECK(CheckTenant(With({"operator"}), "red").ok());
  CHECK(CheckTenant(With({"operator"}), "blue").code() == absl::StatusCode::kPermissionDenied);
  CHECK(CheckTenant(With({"admin"}), "blue").ok());
}

TEST_CASE("Permissions are read by name, by resource and all at once", "[identity]") {
  const auto names = [](std::vector<std::string> list) {
    const auto set = ParsePermissions(list);
    REQUIRE(set.ok());
    return PermissionNames(*set);
  };
  CHECK(names({}).empty());
  CHECK(names({"usage:read", "keys:*"}) ==
        std::vector<std::string>{"keys:read", "keys:write", "usage:read"});
  CHECK(names({"*"}).size() == kPermissionCount);
  for (const std::string bad :
       {"", "keys", "keys:", "key*", "keys:w*", "*:read", "nothing:*", "**"}) {
    CAPTURE(bad);
    CHECK_FALSE(ParsePermissions(std::vector<std::string>{bad}).ok());
  }
}

TEST_CASE("Custom roles add to the built-in ones and cannot replace them", "[identity]") {
  RoleBook book;
  REQUIRE(book.Add({"llama-user", {"models:use", "models:read"}, {"llama-*", "tiny"}}).ok());
  REQUIRE(book.Add({"qwen-user", {"models:use"}, {"qwen"}}).ok());
  REQUIRE(book.Add({"tenant-admin", {"keys:*", "users:*"}, {}}).ok());
  CHECK_FALSE(book.Add({"admin", {"models:read"}, {}}).ok());
  CHECK_FALSE(book.Add({"llama-user", {"models:read"}, {}}).ok());
  CHECK_FALSE(book.Add({"a b", {"models:read"}, {}}).ok());
  CHECK_FALSE(book.Add({"x", {"models:fly"}, {}}).ok());
  CHECK_FALSE(book.Add({"x", {"models:use"}, {"a*b"}}).ok());

  const Principal llama = With({"llama-user"}, book);
  CHECK(llama.Can(Permission::kSelfRead));
  CHECK(llama.models.Allows("llama-7b"));
  CHECK(llama.models.Allows("tiny"));
  CHECK_FALSE(llama.models.Allows("qwen"));
  CHECK(With({"llama-user", "qwen-user"}, book).models.Allows("qwen"));
  // Another role without a word on models opens none; one that gives all of them does.
  CHECK_FALSE(With({"llama-user", "tenant-admin"}, book).models.Allows("qwen"));
  CHECK(With({"llama-user", "developer"}, book).models.Allows("qwen"));
  Principal narrowed = With({"llama-user"}, book);
  narrowed.models.Restrict({"llama-7*"});
  CHECK(narrowed.models.Allows("llama-7b"));
  CHECK_FALSE(narrowed.models.Allows("tiny"));
}

TEST_CASE("Lists of roles are bounded and say each once", "[identity]") {
  CHECK(*ParseRoles("a,b") == std::vector<std::string>{"a", "b"});
  CHECK(JoinRoles({"a", "b"}) == "a,b");
  for (const char* bad : {"", ",", "a,", ",a", "a,a", "a b", "a,b,c,d,e,f,g,h,i"}) {
    CAPTURE(bad);
    CHECK_FALSE(ParseRoles(bad).ok());
  }
}
