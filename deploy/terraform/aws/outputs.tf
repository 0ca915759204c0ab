output "cluster" {
  description = "name of the cluster: aws eks update-kubeconfig --name NAME"
  value       = aws_eks_cluster.weft.name
}

output "bucket" {
  description = "bucket of models and backups"
  value       = aws_s3_bucket.weft.id
}

output "database" {
  description = "host of the database"
  value       = aws_db_instance.weft.address
}
