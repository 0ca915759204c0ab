resource "azurerm_kubernetes_cluster" "weft" {
  name                      = local.name
  resource_group_name       = azurerm_resource_group.weft.name
  location                  = azurerm_resource_group.weft.location
  dns_prefix                = local.name
  kubernetes_version        = var.kubernetes_version
  oidc_issuer_enabled       = true
  workload_identity_enabled = true
  sku_tier                  = "Standard"
  default_node_pool {
    name                        = "cpu"
    vm_size                     = var.cpu_nodes.type
    os_disk_size_gb             = var.cpu_nodes.disk_gb
    vnet_subnet_id              = azurerm_subnet.nodes.id
    zones                       = ["1", "2", "3"]
    auto_scaling_enabled        = true
    min_count                   = var.cpu_nodes.min
    max_count                   = var.cpu_nodes.max
    temporary_name_for_rotation = "cpunext"
    upgrade_settings {
      max_surge = "33%"
    }
  }
  identity {
    type = "SystemAssigned"
  }
  api_server_access_profile {
    authorized_ip_ranges = var.admin_cidrs
  }
  network_profile {
    network_plugin      = "azure"
    network_plugin_mode = "overlay"
    # Enforces the chart's NetworkPolicies.
    network_data_plane = "cilium"
    network_policy     = "cilium"
    pod_cidr           = "172.20.0.0/14"
    service_cidr       = "172.24.0.0/16"
    dns_service_ip     = "172.24.0.10"
  }
}

resource "azurerm_kubernetes_cluster_node_pool" "gpu" {
  count                 = var.gpu_nodes.max > 0 ? 1 : 0
  name                  = "gpu"
  kubernetes_cluster_id = azurerm_kubernetes_cluster.weft.id
  vm_size               = var.gpu_nodes.type
  os_disk_size_gb       = var.gpu_nodes.disk_gb
  vnet_subnet_id        = azurerm_subnet.nodes.id
  auto_scaling_enabled  = true
  min_count             = var.gpu_nodes.min
  max_count             = var.gpu_nodes.max
  priority              = var.gpu_nodes.spot ? "Spot" : "Regular"
  eviction_policy       = var.gpu_nodes.spot ? "Delete" : null
  node_labels           = { "nvidia.com/gpu.present" = "true" }
  node_taints           = ["nvidia.com/gpu=present:NoSchedule"]
}
