variable "environment" {
  description = "part of every name, such as production"
  type        = string
  default     = "production"
  validation {
    condition     = can(regex("^[a-z][a-z0-9]{1,14}$", var.environment))
    error_message = "environment: 2 to 15 lower-case letters and digits, a letter first."
  }
}

variable "region" {
  description = "where everything is"
  type        = string
}

variable "cidr" {
  description = "addresses of the network, a /16"
  type        = string
  default     = "10.40.0.0/16"
}

variable "admin_cidrs" {
  description = "who may reach the cluster's API server from outside"
  type        = list(string)
}

variable "kubernetes_version" {
  description = "minor version of the cluster"
  type        = string
  default     = "1.34"
}

variable "protect" {
  description = "whether destroy is refused for what holds data"
  type        = bool
  default     = true
}

variable "chart" {
  description = "path of helm/weft, or oci://HOST/PATH/weft"
  type        = string
  default     = "../../../helm/weft"
}

variable "values" {
  description = "contents of values files for the chart, later ones over earlier ones"
  type        = list(string)
}

variable "keys_json" {
  description = "what `weftctl keys generate --file` wrote: hashes, no keys"
  type        = string
  sensitive   = true
}

variable "host" {
  description = "name that clients use, in dns_zone"
  type        = string
}

variable "dns_zone" {
  description = "zone that exists already"
  type        = string
}

variable "subscription" {
  description = "id of the subscription"
  type        = string
}

variable "dns_resource_group" {
  description = "resource group of dns_zone"
  type        = string
}

variable "ingress_target" {
  description = "address of the ingress controller's load balancer; empty until there is one"
  type        = string
  default     = ""
}

variable "cpu_nodes" {
  description = "machines for gateways, schedulers, scanners and CPU workers"
  type        = object({ type = string, disk_gb = number, min = number, max = number })
  default     = { type = "Standard_D8s_v5", disk_gb = 128, min = 3, max = 12 }
}

variable "gpu_nodes" {
  description = "machines with GPUs; max 0: none"
  type        = object({ type = string, disk_gb = number, min = number, max = number, spot = bool })
  default     = { type = "Standard_NC24ads_A100_v4", disk_gb = 256, min = 0, max = 4, spot = false }
}

variable "database" {
  description = "PostgreSQL; replicated: a standby in another zone"
  type        = object({ type = string, disk_gb = number, replicated = bool })
  default     = { type = "GP_Standard_D2ds_v5", disk_gb = 128, replicated = true }
}

variable "redis_capacity" {
  description = "size C0 to C6 of the Standard tier, which has a standby"
  type        = number
  default     = 2
}
