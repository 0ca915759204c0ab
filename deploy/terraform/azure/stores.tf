# Passwords are in the state: keep it encrypted and to few (README.md).
resource "random_password" "database" {
  length  = 40
  special = false
}

resource "azurerm_postgresql_flexible_server" "weft" {
  name                          = local.name
  resource_group_name           = azurerm_resource_group.weft.name
  location                      = azurerm_resource_group.weft.location
  version                       = "16"
  delegated_subnet_id           = azurerm_subnet.database.id
  private_dns_zone_id           = azurerm_private_dns_zone.stores["postgres"].id
  public_network_access_enabled = false
  administrator_login           = "weft"
  administrator_password        = random_password.database.result
  sku_name                      = var.database.type
  storage_mb                    = var.database.disk_gb * 1024
  auto_grow_enabled             = true
  backup_retention_days         = 30
  zone                          = "1"
  dynamic "high_availability" {
    for_each = var.database.replicated ? [1] : []
    content {
      mode                      = "ZoneRedundant"
      standby_availability_zone = "2"
    }
  }
  lifecycle {
    ignore_changes = [zone, high_availability[0].standby_availability_zone]
  }
  depends_on = [azurerm_private_dns_zone_virtual_network_link.stores]
}

resource "azurerm_postgresql_flexible_server_database" "weft" {
  name      = "weft"
  server_id = azurerm_postgresql_flexible_server.weft.id
  collation = "C"
  charset   = "UTF8"
}

resource "azurerm_redis_cache" "weft" {
  name                          = local.name
  resource_group_name           = azurerm_resource_group.weft.name
  location                      = azurerm_resource_group.weft.location
  family                        = "C"
  sku_name                      = "Standard"
  capacity                      = var.redis_capacity
  minimum_tls_version           = "1.2"
  non_ssl_port_enabled          = false
  public_network_access_enabled = false
  redis_configuration {
    maxmemory_policy = "volatile-lru"
  }
}

resource "azurerm_private_endpoint" "redis" {
  name                = "${local.name}-redis"
  resource_group_name = azurerm_resource_group.weft.name
  location            = azurerm_resource_group.weft.location
  subnet_id           = azurerm_subnet.endpoints.id
  private_service_connection {
    name                           = "redis"
    private_connection_resource_id = azurerm_redis_cache.weft.id
    subresource_names              = ["redisCache"]
    is_manual_connection           = false
  }
  private_dns_zone_group {
    name                 = "redis"
    private_dns_zone_ids = [azurerm_private_dns_zone.stores["redis"].id]
  }
}

# Models and backups.
resource "random_string" "bucket" {
  length  = 6
  special = false
  upper   = false
}

resource "azurerm_storage_account" "weft" {
  name                            = "weft${var.environment}${random_string.bucket.result}"
  resource_group_name             = azurerm_resource_group.weft.name
  location                        = azurerm_resource_group.weft.location
  account_tier                    = "Standard"
  account_replication_type        = "ZRS"
  min_tls_version                 = "TLS1_2"
  allow_nested_items_to_be_public = false
  blob_properties {
    versioning_enabled = true
    delete_retention_policy {
      days = 30
    }
  }
  network_rules {
    default_action             = "Deny"
    virtual_network_subnet_ids = [azurerm_subnet.nodes.id]
    ip_rules                   = [for cidr in var.admin_cidrs : trimsuffix(cidr, "/32")]
  }
}

resource "azurerm_storage_container" "weft" {
  for_each           = toset(["models", "backups"])
  name               = each.key
  storage_account_id = azurerm_storage_account.weft.id
}
