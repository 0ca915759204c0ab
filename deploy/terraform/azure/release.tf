module "release" {
  source       = "../release"
  chart        = var.chart
  values       = var.values
  host         = var.host
  keys_json    = var.keys_json
  database_url = "postgresql://weft:${random_password.database.result}@${azurerm_postgresql_flexible_server.weft.fqdn}:5432/weft?sslmode=require"
  redis_url    = "rediss://:${urlencode(azurerm_redis_cache.weft.primary_access_key)}@${azurerm_redis_cache.weft.hostname}:${azurerm_redis_cache.weft.ssl_port}/0"
  depends_on   = [azurerm_postgresql_flexible_server_database.weft, azurerm_private_endpoint.redis]
}

data "azurerm_dns_zone" "weft" {
  name                = var.dns_zone
  resource_group_name = var.dns_resource_group
}

# The ingress controller's load balancer is known after the first apply: give its address then.
resource "azurerm_dns_a_record" "weft" {
  count               = var.ingress_target == "" ? 0 : 1
  name                = trimsuffix(var.host, ".${var.dns_zone}")
  zone_name           = data.azurerm_dns_zone.weft.name
  resource_group_name = var.dns_resource_group
  ttl                 = 60
  records             = [var.ingress_target]
}
