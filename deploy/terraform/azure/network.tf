locals {
  name = "weft-${var.environment}"
}

resource "azurerm_resource_group" "weft" {
  name     = local.name
  location = var.region
}

resource "azurerm_virtual_network" "weft" {
  name                = local.name
  resource_group_name = azurerm_resource_group.weft.name
  location            = azurerm_resource_group.weft.location
  address_space       = [var.cidr]
}

resource "azurerm_subnet" "nodes" {
  name                 = "nodes"
  resource_group_name  = azurerm_resource_group.weft.name
  virtual_network_name = azurerm_virtual_network.weft.name
  address_prefixes     = [cidrsubnet(var.cidr, 2, 0)]
  service_endpoints    = ["Microsoft.Storage"]
}

resource "azurerm_subnet" "database" {
  name                 = "database"
  resource_group_name  = azurerm_resource_group.weft.name
  virtual_network_name = azurerm_virtual_network.weft.name
  address_prefixes     = [cidrsubnet(var.cidr, 8, 64)]
  delegation {
    name = "postgresql"
    service_delegation {
      name    = "Microsoft.DBforPostgreSQL/flexibleServers"
      actions = ["Microsoft.Network/virtualNetworks/subnets/join/action"]
    }
  }
}

resource "azurerm_subnet" "endpoints" {
  name                 = "endpoints"
  resource_group_name  = azurerm_resource_group.weft.name
  virtual_network_name = azurerm_virtual_network.weft.name
  address_prefixes     = [cidrsubnet(var.cidr, 8, 65)]
}

resource "azurerm_private_dns_zone" "stores" {
  for_each            = { postgres = "${local.name}.postgres.database.azure.com", redis = "privatelink.redis.cache.windows.net" }
  name                = each.value
  resource_group_name = azurerm_resource_group.weft.name
}

resource "azurerm_private_dns_zone_virtual_network_link" "stores" {
  for_each              = azurerm_private_dns_zone.stores
  name                  = each.key
  resource_group_name   = azurerm_resource_group.weft.name
  private_dns_zone_name = each.value.name
  virtual_network_id    = azurerm_virtual_network.weft.id
}
