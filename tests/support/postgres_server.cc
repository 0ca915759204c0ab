#include "tests/support/postgres_server.h"

#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <stdexcept>
#include <thread>

namespace weft::test {
namespace {

using namespace std::chrono_literals;
namespace fs = std::filesystem;
constexpr uid_t kNobody = 65534;

// Debian keeps the servers' programs out of PATH, one folder for each version.
std::string ServerPrograms() {
  std::vector<std::string> found;
  std::error_code ignored;
  for (const auto& entry : fs::directory_iterator("/usr/lib/postgresql", ignored)) {
    if (fs::exists(entry.path() / "bin/postgres")) found.push_back((entry.path() / "bin").string());
  }
  if (found.empty()) throw std::runtime_error("no PostgreSQL server: install postgresql");
  return *std::max_element(found.begin(), found.end());
}

std::string ReadFile(const std::string& path) {
  std::ifstream file(path);
  return {std::istreambuf_iterator<char>(file), {}};
}

std::string DatabaseOf(const std::string& url) {
  const size_t begin = url.find('/', url.find("://") + 3) + 1;
  return url.substr(begin, url.find('?') - begin);
}

}  // namespace

uid_t PostgresServer::User() { return geteuid() == 0 ? kNobody : geteuid(); }

PostgresServer::PostgresServer(const std::vector<std::string>& settings, int port)
    : port_(port), bin_(ServerPrograms()) {
  if (geteuid() == 0 && chown(folder().c_str(), kNobody, kNobody) != 0) {
    throw std::runtime_error("chown " + folder());
  }
  Run({bin_ + "/initdb", "-D", folder() + "/data", "-U", "postgres", "-A", "trust", "-E", "UTF8",
       "--no-locale", "--no-sync"});
  {
    std::ofstream config(folder() + "/data/postgresql.conf", std::ios::app);
    config << "port = " << port_ << "\nlisten_addresses = ''\nunix_socket_directories = '"
           << folder() << "'\n"
           << "shared_buffers = 16MB\nmax_connections = 60\nfsync = off\n"
           << "log_min_messages = warning\n";
    for (const std::string& line : settings) config << line << "\n";
  }
  Start();
  Sql("postgresql:///postgres", "CREATE ROLE weft LOGIN PASSWORD 'weft-password'");
}

PostgresServer::~PostgresServer() {
  bouncer_.reset();
  if (server_) {
    server_->Signal(SIGINT);  // fast shutdown
    server_->Wait(20s);
  }
}

std::string PostgresServer::Log() const { return ReadFile(folder() + "/log"); }

std::vector<std::string> PostgresServer::Unprivileged(std::vector<std::string> argv) const {
  if (geteuid() != 0) return argv;  // PostgreSQL refuses to run as root
  std::vector<std::string> out = {"/usr/bin/setpriv", "--reuid=65534", "--regid=65534",
                                  "--clear-groups", "--"};
  out.insert(out.end(), argv.begin(), argv.end());
  return out;
}

void PostgresServer::Run(std::vector<std::string> argv) {
  const std::string name = argv[0];
  testing::Process process(Unprivileged(std::move(argv)), folder() + "/log");
  if (process.Wait(60s) != 0) throw std::runtime_error(name + " failed: " + Log());
}

void PostgresServer::Start() {
  const auto end = std::chrono::steady_clock::now() + 60s;
  while (true) {
    if (!server_ || !server_->running()) {
      // What a killed one left in shared memory may hold up the first attempts.
      server_ = std::make_unique<testing::Process>(
          Unprivileged({bin_ + "/postgres", "-D", folder() + "/data"}), folder() + "/log");
    }
    testing::Process ask({bin_ + "/pg_isready", "-q", "-h", folder(), "-p", std::to_string(port_)},
                         folder() + "/log");
    if (ask.Wait(10s) == 0) return;
    if (std::chrono::steady_clock::now() > end) throw std::runtime_error("no server: " + Log());
    std::this_thread::sleep_for(20ms);
  }
}

void PostgresServer::Kill() {
  server_->Signal(SIGKILL);
  server_->Wait(10s);
  server_.reset();
}

std::string PostgresServer::NewDatabase() {
  const std::string name = "t" + std::to_string(++databases_);
  Sql("postgresql:///postgres", "CREATE DATABASE " + name + " OWNER weft");
  return "postgresql://weft@/" + name + "?host=" + folder() + "&port=" + std::to_string(port_);
}

std::string PostgresServer::AsSuperuser(const std::string& url) const {
  return "postgresql://postgres@/" + DatabaseOf(url) + "?host=" + folder() +
         "&port=" + std::to_string(port_);
}

std::string PostgresServer::Sql(const std::string& url, const std::string& sql) {
  const std::string out = folder() + "/psql.out";
  std::error_code ignored;
  fs::remove(out, ignored);
  testing::Process psql(
      {bin_ + "/psql", "-h", folder(), "-p", std::to_string(port_), "-U", "postgres", "-d",
       DatabaseOf(url), "-v", "ON_ERROR_STOP=1", "-qAt", "-c", sql},
      out);
  if (psql.Wait(60s) != 0) throw std::runtime_error("psql: " + ReadFile(out));
  return ReadFile(out);
}

std::string PostgresServer::ThroughPgBouncer(const std::string& url) {
  const std::string socket = folder() + "/b";
  if (!bouncer_) {
    fs::create_directory(socket);
    if (geteuid() == 0 && chown(socket.c_str(), kNobody, kNobody) != 0) {
      throw std::runtime_error("chown " + socket);
    }
    std::ofstream(folder() + "/pgbouncer.ini")
        << "[databases]\n* = host=" << folder() << " port=" << port_ << " user=weft\n[pgbouncer]\n"
        << "listen_addr =\nunix_socket_dir = " << socket << "\nauth_type = any\n"
        << "pool_mode = transaction\ndefault_pool_size = 2\nmax_client_conn = 200\n"
        << "server_login_retry = 1\n";
    bouncer_ = std::make_unique<testing::Process>(
        Unprivileged({"/usr/sbin/pgbouncer", folder() + "/pgbouncer.ini"}), folder() + "/log");
    const auto end = std::chrono::steady_clock::now() + 30s;
    while (!fs::exists(socket + "/.s.PGSQL.6432")) {
      if (std::chrono::steady_clock::now() > end || !bouncer_->running()) {
        throw std::runtime_error("no pgbouncer: " + Log());
      }
      std::this_thread::sleep_for(10ms);
    }
  }
  return "postgresql://weft@/" + DatabaseOf(url) + "?host=" + socket + "&port=6432";
}

PostgresServer& SharedPostgres() {
  static PostgresServer server;
  return server;
}

}  // namespace weft::test
