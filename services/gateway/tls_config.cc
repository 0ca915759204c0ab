#include "services/gateway/tls_config.h"

#include "libs/base/status.h"
#include "libs/config/binder.h"
#include "libs/telemetry/log.h"

namespace weft::gateway {
namespace {

using namespace std::chrono_literals;
const telemetry::Logger kLog("gateway.tls");

}  // namespace

absl::Status TlsConfig::Validate() const { return Annotate(files.Validate(true), "gateway.tls"); }

void Bind(config::Binder& b, TlsConfig& c) {
  rpc::BindServerTls(b, c.files);
  b.Choice("min_version", &c.allow_tls12, {{"1.3", false}, {"1.2", true}},
           "the oldest version that is spoken");
  b.Duration("reload_interval", &c.reload_interval, 0ms, 1h,
             "how often the files are looked at; changed ones serve new connections; 0 = never");
}

absl::StatusOr<std::shared_ptr<http::TlsCertificates>> MakeTls(const TlsConfig& config) {
  if (!config.files.enabled) return std::shared_ptr<http::TlsCertificates>();
  http::TlsSettings settings;
  settings.certificate_file = config.files.certificate_file;
  settings.key_file = config.files.key_file;
  settings.ca_file = config.files.ca_file;
  settings.require_client_certificate = config.files.require_client_certificate;
  settings.allow_tls12 = config.allow_tls12;
  auto opened = http::TlsCertificates::Open(std::move(settings));
  if (!opened.ok()) return Annotate(opened.status(), "gateway");
  return opened;
}

TlsReloader::TlsReloader(std::shared_ptr<http::TlsCertificates> certificates,
                         std::chrono::milliseconds interval, telemetry::Registry& registry)
    : certificates_(std::move(certificates)),
      interval_(interval),
      registry_(registry),
      reloads_(registry.CounterWith(
          "weft_tls_reloads_total",
          "Changed certificate files of the REST API, by what became of them", {"result"})),
      watch_(registry.WatchGauge(
          "weft_tls_certificate_not_after_seconds",
          "When the REST API's certificate ends, in Unix seconds; 0 without TLS", {},
          [this] {
            return certificates_ ? static_cast<double>(certificates_->Current()->not_after()) : 0.0;
          })),
      next_(std::chrono::steady_clock::now() + interval) {}

TlsReloader::~TlsReloader() { registry_.Unwatch(watch_); }

void TlsReloader::Tick() {
  const auto now = std::chrono::steady_clock::now();
  if (!certificates_ || interval_.count() == 0 || now < next_) return;
  next_ = now + interval_;
  const auto reloaded = certificates_->ReloadIfChanged();
  if (!reloaded.ok()) {
    reloads_.With({"error"}).Increment();
    kLog.Error("changed certificates are not usable; the old ones stay",
               {{"exception", reloaded.status()}});
  } else if (*reloaded) {
    reloads_.With({"ok"}).Increment();
    kLog.Info("certificates exchanged", {{"fingerprint", certificates_->Current()->fingerprint()}});
  }
}

}  // namespace weft::gateway
