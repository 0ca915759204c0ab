output "cluster" {
  description = "name of the cluster and of its resource group: az aks get-credentials --name NAME --resource-group NAME"
  value       = azurerm_kubernetes_cluster.weft.name
}

output "bucket" {
  description = "storage account of models and backups"
  value       = azurerm_storage_account.weft.name
}

output "database" {
  description = "host of the database"
  value       = azurerm_postgresql_flexible_server.weft.fqdn
}
