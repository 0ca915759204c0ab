output "cluster" {
  description = "name of the cluster: gcloud container clusters get-credentials NAME --region REGION"
  value       = google_container_cluster.weft.name
}

output "bucket" {
  description = "bucket of models and backups"
  value       = google_storage_bucket.weft.name
}

output "database" {
  description = "address of the database"
  value       = google_sql_database_instance.weft.private_ip_address
}
