resource "google_service_account" "node" {
  account_id   = "${local.name}-node"
  display_name = "Nodes of ${local.name}"
}

resource "google_project_iam_member" "node" {
  for_each = toset(["roles/logging.logWriter", "roles/monitoring.metricWriter", "roles/artifactregistry.reader"])
  project  = var.project
  role     = each.key
  member   = "serviceAccount:${google_service_account.node.email}"
}

# Over the region's zones.
resource "google_container_cluster" "weft" {
  name                     = local.name
  location                 = var.region
  network                  = google_compute_network.weft.id
  subnetwork               = google_compute_subnetwork.weft.id
  remove_default_node_pool = true
  initial_node_count       = 1
  min_master_version       = var.kubernetes_version
  # Enforces the chart's NetworkPolicies.
  datapath_provider   = "ADVANCED_DATAPATH"
  deletion_protection = var.protect
  ip_allocation_policy {
    cluster_secondary_range_name  = "pods"
    services_secondary_range_name = "services"
  }
  private_cluster_config {
    enable_private_nodes    = true
    enable_private_endpoint = false
  }
  master_authorized_networks_config {
    dynamic "cidr_blocks" {
      for_each = var.admin_cidrs
      content {
        cidr_block = cidr_blocks.value
      }
    }
  }
  workload_identity_config {
    workload_pool = "${var.project}.svc.id.goog"
  }
  release_channel {
    channel = "REGULAR"
  }
}

resource "google_container_node_pool" "cpu" {
  name     = "cpu"
  cluster  = google_container_cluster.weft.id
  location = var.region
  # Of each zone.
  initial_node_count = ceil(var.cpu_nodes.min / 3)
  autoscaling {
    total_min_node_count = var.cpu_nodes.min
    total_max_node_count = var.cpu_nodes.max
    location_policy      = "BALANCED"
  }
  node_config {
    machine_type    = var.cpu_nodes.type
    disk_size_gb    = var.cpu_nodes.disk_gb
    service_account = google_service_account.node.email
    oauth_scopes    = ["https://www.googleapis.com/auth/cloud-platform"]
    shielded_instance_config {
      enable_secure_boot = true
    }
    workload_metadata_config {
      mode = "GKE_METADATA"
    }
  }
  lifecycle {
    ignore_changes = [initial_node_count]
  }
}

resource "google_container_node_pool" "gpu" {
  count              = var.gpu_nodes.max > 0 ? 1 : 0
  name               = "gpu"
  cluster            = google_container_cluster.weft.id
  location           = var.region
  node_locations     = var.gpu_nodes.zones
  initial_node_count = 0
  autoscaling {
    total_min_node_count = var.gpu_nodes.min
    total_max_node_count = var.gpu_nodes.max
    location_policy      = "ANY"
  }
  node_config {
    machine_type    = var.gpu_nodes.type
    disk_size_gb    = var.gpu_nodes.disk_gb
    spot            = var.gpu_nodes.spot
    service_account = google_service_account.node.email
    oauth_scopes    = ["https://www.googleapis.com/auth/cloud-platform"]
    labels          = { "nvidia.com/gpu.present" = "true" }
    guest_accelerator {
      type  = var.gpu_nodes.accelerator
      count = var.gpu_nodes.count
      gpu_driver_installation_config {
        gpu_driver_version = "LATEST"
      }
    }
    taint {
      key    = "nvidia.com/gpu"
      value  = "present"
      effect = "NO_SCHEDULE"
    }
    workload_metadata_config {
      mode = "GKE_METADATA"
    }
  }
}
