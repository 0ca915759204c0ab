locals {
  name = "weft-${var.environment}"
}

resource "google_compute_network" "weft" {
  name                    = local.name
  auto_create_subnetworks = false
}

resource "google_compute_subnetwork" "weft" {
  name                     = local.name
  network                  = google_compute_network.weft.id
  region                   = var.region
  ip_cidr_range            = cidrsubnet(var.cidr, 4, 0)
  private_ip_google_access = true
  secondary_ip_range {
    range_name    = "pods"
    ip_cidr_range = cidrsubnet(var.cidr, 1, 1)
  }
  secondary_ip_range {
    range_name    = "services"
    ip_cidr_range = cidrsubnet(var.cidr, 4, 1)
  }
}

resource "google_compute_router" "weft" {
  name    = local.name
  network = google_compute_network.weft.id
  region  = var.region
}

resource "google_compute_router_nat" "weft" {
  name                               = local.name
  router                             = google_compute_router.weft.name
  region                             = var.region
  nat_ip_allocate_option             = "AUTO_ONLY"
  source_subnetwork_ip_ranges_to_nat = "ALL_SUBNETWORKS_ALL_IP_RANGES"
}

# The managed stores are in a network of Google's own, joined to this one.
resource "google_compute_global_address" "stores" {
  name          = "${local.name}-stores"
  network       = google_compute_network.weft.id
  purpose       = "VPC_PEERING"
  address_type  = "INTERNAL"
  address       = cidrhost(cidrsubnet(var.cidr, 4, 2), 0)
  prefix_length = 20
}

resource "google_service_networking_connection" "stores" {
  network                 = google_compute_network.weft.id
  service                 = "servicenetworking.googleapis.com"
  reserved_peering_ranges = [google_compute_global_address.stores.name]
}
