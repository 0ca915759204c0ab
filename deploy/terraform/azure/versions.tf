terraform {
  required_version = ">= 1.6"
  required_providers {
    azurerm    = { source = "hashicorp/azurerm", version = "~> 4.0" }
    helm       = { source = "hashicorp/helm", version = "~> 3.0" }
    kubernetes = { source = "hashicorp/kubernetes", version = "~> 2.35" }
    random     = { source = "hashicorp/random", version = "~> 3.6" }
  }
}

provider "azurerm" {
  subscription_id = var.subscription
  features {
    resource_group {
      prevent_deletion_if_contains_resources = var.protect
    }
  }
}

locals {
  access = azurerm_kubernetes_cluster.weft.kube_config[0]
}

provider "kubernetes" {
  host                   = local.access.host
  client_certificate     = base64decode(local.access.client_certificate)
  client_key             = base64decode(local.access.client_key)
  cluster_ca_certificate = base64decode(local.access.cluster_ca_certificate)
}

provider "helm" {
  kubernetes = {
    host                   = local.access.host
    client_certificate     = base64decode(local.access.client_certificate)
    client_key             = base64decode(local.access.client_key)
    cluster_ca_certificate = base64decode(local.access.cluster_ca_certificate)
  }
}
