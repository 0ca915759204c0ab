module "release" {
  source       = "../release"
  chart        = var.chart
  values       = concat(var.values, [yamlencode({ redis = { caSecret = kubernetes_secret_v1.redis_ca.metadata[0].name } })])
  host         = var.host
  keys_json    = var.keys_json
  database_url = "postgresql://weft:${random_password.database.result}@${google_sql_database_instance.weft.private_ip_address}:5432/weft?sslmode=verify-ca&sslrootcert=/etc/weft-database/ca.crt"
  database_ca  = google_sql_database_instance.weft.server_ca_cert[0].cert
  redis_url    = "rediss://:${google_redis_instance.weft.auth_string}@${google_redis_instance.weft.host}:${google_redis_instance.weft.port}/0"
  depends_on   = [google_container_node_pool.cpu, google_sql_user.weft, google_sql_database.weft]
}

# Mounted as /etc/weft-redis/ca.crt: gateway.config names it where the key for it is set.
resource "kubernetes_secret_v1" "redis_ca" {
  metadata {
    name      = "weft-cache-ca"
    namespace = "weft"
  }
  data = { "ca.crt" = google_redis_instance.weft.server_ca_certs[0].cert }
}

data "google_dns_managed_zone" "weft" {
  name = var.dns_zone
}

# The ingress controller's load balancer is known after the first apply: give its address then.
resource "google_dns_record_set" "weft" {
  count        = var.ingress_target == "" ? 0 : 1
  managed_zone = data.google_dns_managed_zone.weft.name
  name         = "${var.host}."
  type         = "A"
  ttl          = 60
  rrdatas      = [var.ingress_target]
}
