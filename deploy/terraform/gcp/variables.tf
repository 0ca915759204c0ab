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

variable "project" {
  description = "project that exists, with the APIs of README.md enabled"
  type        = string
}

variable "ingress_target" {
  description = "address of the ingress controller's load balancer; empty until there is one"
  type        = string
  default     = ""
}

variable "cpu_nodes" {
  description = "machines for gateways, schedulers, scanners and CPU workers, over all zones"
  type        = object({ type = string, disk_gb = number, min = number, max = number })
  default     = { type = "n2-standard-8", disk_gb = 100, min = 3, max = 12 }
}

variable "gpu_nodes" {
  description = "machines with GPUs; max 0: none. zones: those of the region that have the accelerator"
  type = object({
    type = string, accelerator = string, count = number, zones = list(string), disk_gb = number, min = number, max = number, spot = bool
  })
  default = { type = "g2-standard-8", accelerator = "nvidia-l4", count = 1, zones = null, disk_gb = 200, min = 0, max = 8, spot = false }
}

variable "database" {
  description = "PostgreSQL; replicated: a standby in another zone"
  type        = object({ type = string, disk_gb = number, replicated = bool })
  default     = { type = "db-custom-2-8192", disk_gb = 100, replicated = true }
}

variable "redis" {
  description = "Redis; replicated: a standby in another zone"
  type        = object({ memory_gb = number, replicated = bool })
  default     = { memory_gb = 4, replicated = true }
}
