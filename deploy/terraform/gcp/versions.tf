terraform {
  required_version = ">= 1.6"
  required_providers {
    google     = { source = "hashicorp/google", version = "~> 7.0" }
    helm       = { source = "hashicorp/helm", version = "~> 3.0" }
    kubernetes = { source = "hashicorp/kubernetes", version = "~> 2.35" }
    random     = { source = "hashicorp/random", version = "~> 3.6" }
  }
}

provider "google" {
  project = var.project
  region  = var.region
}

data "google_client_config" "me" {}

provider "kubernetes" {
  host                   = "https://${google_container_cluster.weft.endpoint}"
  cluster_ca_certificate = base64decode(google_container_cluster.weft.master_auth[0].cluster_ca_certificate)
  token                  = data.google_client_config.me.access_token
}

provider "helm" {
  kubernetes = {
    host                   = "https://${google_container_cluster.weft.endpoint}"
    cluster_ca_certificate = base64decode(google_container_cluster.weft.master_auth[0].cluster_ca_certificate)
    token                  = data.google_client_config.me.access_token
  }
}
