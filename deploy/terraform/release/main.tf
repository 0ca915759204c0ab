# The chart in a cluster that exists, with the URLs of its stores in Secrets. Used by aws, gcp and azure.
terraform {
  required_version = ">= 1.6"
  required_providers {
    helm       = { source = "hashicorp/helm", version = "~> 3.0" }
    kubernetes = { source = "hashicorp/kubernetes", version = "~> 2.35" }
  }
}

variable "namespace" {
  description = "namespace of the release; made with the restricted Pod Security Standard enforced"
  type        = string
  default     = "weft"
}

variable "chart" {
  description = "path of helm/weft, or oci://HOST/PATH/weft"
  type        = string
}

variable "chart_version" {
  description = "of an oci:// chart; null for a path"
  type        = string
  default     = null
}

variable "values" {
  description = "values files' contents, later ones over earlier ones"
  type        = list(string)
}

variable "host" {
  description = "name that clients use"
  type        = string
}

variable "database_url" {
  description = "postgresql://… of the gateways' database"
  type        = string
  sensitive   = true
}

variable "database_ca" {
  description = "PEM of the authority that signed the database's certificate"
  type        = string
  default     = ""
}

variable "redis_url" {
  description = "rediss://… of the gateways' limits and caches"
  type        = string
  sensitive   = true
}

variable "keys_json" {
  description = "what `weftctl keys generate --file` wrote: hashes, no keys"
  type        = string
  sensitive   = true
}

resource "kubernetes_namespace_v1" "weft" {
  metadata {
    name   = var.namespace
    labels = { "pod-security.kubernetes.io/enforce" = "restricted" }
  }
}

resource "kubernetes_secret_v1" "database" {
  metadata {
    name      = "weft-db"
    namespace = kubernetes_namespace_v1.weft.metadata[0].name
  }
  data = { url = var.database_url, "ca.crt" = var.database_ca }
}

resource "kubernetes_secret_v1" "redis" {
  metadata {
    name      = "weft-cache"
    namespace = kubernetes_namespace_v1.weft.metadata[0].name
  }
  data = { url = var.redis_url }
}

resource "kubernetes_secret_v1" "keys" {
  metadata {
    name      = "weft-keys"
    namespace = kubernetes_namespace_v1.weft.metadata[0].name
  }
  data = { "keys.json" = var.keys_json }
}

resource "helm_release" "weft" {
  name      = "weft"
  namespace = kubernetes_namespace_v1.weft.metadata[0].name
  chart     = var.chart
  version   = var.chart_version
  atomic    = true
  timeout   = 1800
  values = concat(var.values, [yamlencode({
    database = {
      existingSecret = kubernetes_secret_v1.database.metadata[0].name
      caSecret       = var.database_ca == "" ? "" : kubernetes_secret_v1.database.metadata[0].name
    }
    redis   = { existingSecret = kubernetes_secret_v1.redis.metadata[0].name }
    keys    = { existingSecret = kubernetes_secret_v1.keys.metadata[0].name, externalSecret = { enabled = false } }
    ingress = { enabled = true, host = var.host }
  })])
}

output "namespace" {
  description = "where the release is"
  value       = kubernetes_namespace_v1.weft.metadata[0].name
}
