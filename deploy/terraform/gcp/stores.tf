# Passwords are in the state: keep it encrypted and to few (README.md).
resource "random_password" "database" {
  length  = 40
  special = false
}

resource "google_sql_database_instance" "weft" {
  name                = local.name
  region              = var.region
  database_version    = "POSTGRES_17"
  deletion_protection = var.protect
  settings {
    edition           = "ENTERPRISE"
    tier              = var.database.type
    disk_size         = var.database.disk_gb
    disk_autoresize   = true
    availability_type = var.database.replicated ? "REGIONAL" : "ZONAL"
    ip_configuration {
      ipv4_enabled    = false
      private_network = google_compute_network.weft.id
      ssl_mode        = "ENCRYPTED_ONLY"
    }
    backup_configuration {
      enabled                        = true
      start_time                     = "02:00"
      point_in_time_recovery_enabled = true
      transaction_log_retention_days = 7
      backup_retention_settings {
        retained_backups = 30
      }
    }
  }
  depends_on = [google_service_networking_connection.stores]
}

resource "google_sql_database" "weft" {
  name     = "weft"
  instance = google_sql_database_instance.weft.name
}

resource "google_sql_user" "weft" {
  name     = "weft"
  instance = google_sql_database_instance.weft.name
  password = random_password.database.result
}

resource "google_redis_instance" "weft" {
  name                    = local.name
  region                  = var.region
  tier                    = var.redis.replicated ? "STANDARD_HA" : "BASIC"
  memory_size_gb          = var.redis.memory_gb
  redis_version           = "REDIS_7_2"
  authorized_network      = google_compute_network.weft.id
  connect_mode            = "PRIVATE_SERVICE_ACCESS"
  auth_enabled            = true
  transit_encryption_mode = "SERVER_AUTHENTICATION"
  redis_configs           = { "maxmemory-policy" = "volatile-ttl" }
  depends_on              = [google_service_networking_connection.stores]
}

# Models and backups.
resource "google_storage_bucket" "weft" {
  name                        = "${var.project}-${local.name}"
  location                    = var.region
  uniform_bucket_level_access = true
  public_access_prevention    = "enforced"
  force_destroy               = !var.protect
  versioning {
    enabled = true
  }
  lifecycle_rule {
    action {
      type = "Delete"
    }
    condition {
      age            = 30
      matches_prefix = ["backups/"]
    }
  }
}
