# Passwords are in the state: keep it encrypted and to few (README.md).
resource "random_password" "database" {
  length  = 40
  special = false
}

resource "random_password" "redis" {
  length  = 40
  special = false
}

resource "aws_security_group" "stores" {
  name_prefix = "${local.name}-stores-"
  vpc_id      = aws_vpc.weft.id
  dynamic "ingress" {
    for_each = { postgresql = 5432, redis = 6379 }
    content {
      description     = ingress.key
      from_port       = ingress.value
      to_port         = ingress.value
      protocol        = "tcp"
      security_groups = [aws_eks_cluster.weft.vpc_config[0].cluster_security_group_id]
    }
  }
}

resource "aws_db_subnet_group" "weft" {
  name_prefix = local.name
  subnet_ids  = aws_subnet.private[*].id
}

resource "aws_db_parameter_group" "weft" {
  name_prefix = local.name
  family      = "postgres17"
  parameter {
    name  = "rds.force_ssl"
    value = "1"
  }
}

resource "aws_db_instance" "weft" {
  identifier_prefix            = local.name
  engine                       = "postgres"
  engine_version               = "17"
  instance_class               = var.database.type
  allocated_storage            = var.database.disk_gb
  max_allocated_storage        = var.database.disk_gb * 4
  storage_encrypted            = true
  kms_key_id                   = aws_kms_key.weft.arn
  multi_az                     = var.database.replicated
  db_name                      = "weft"
  username                     = "weft"
  password                     = random_password.database.result
  db_subnet_group_name         = aws_db_subnet_group.weft.name
  parameter_group_name         = aws_db_parameter_group.weft.name
  vpc_security_group_ids       = [aws_security_group.stores.id]
  backup_retention_period      = 30 # with the log: any moment of it
  backup_window                = "02:00-03:00"
  copy_tags_to_snapshot        = true
  performance_insights_enabled = true
  deletion_protection          = var.protect
  skip_final_snapshot          = !var.protect
  final_snapshot_identifier    = var.protect ? "${local.name}-last" : null
}

resource "aws_elasticache_subnet_group" "weft" {
  name       = local.name
  subnet_ids = aws_subnet.private[*].id
}

resource "aws_elasticache_replication_group" "weft" {
  replication_group_id       = local.name
  description                = "limits and caches of Weft's gateways"
  engine                     = "redis"
  engine_version             = "7.1"
  node_type                  = var.redis.type
  num_cache_clusters         = var.redis.replicated ? 2 : 1
  automatic_failover_enabled = var.redis.replicated
  multi_az_enabled           = var.redis.replicated
  subnet_group_name          = aws_elasticache_subnet_group.weft.name
  security_group_ids         = [aws_security_group.stores.id]
  at_rest_encryption_enabled = true
  transit_encryption_enabled = true
  auth_token                 = random_password.redis.result
  snapshot_retention_limit   = 7
}

# Models and backups.
resource "aws_s3_bucket" "weft" {
  bucket_prefix = "${local.name}-"
  force_destroy = !var.protect
}

resource "aws_s3_bucket_public_access_block" "weft" {
  bucket                  = aws_s3_bucket.weft.id
  block_public_acls       = true
  block_public_policy     = true
  ignore_public_acls      = true
  restrict_public_buckets = true
}

resource "aws_s3_bucket_versioning" "weft" {
  bucket = aws_s3_bucket.weft.id
  versioning_configuration {
    status = "Enabled"
  }
}

resource "aws_s3_bucket_server_side_encryption_configuration" "weft" {
  bucket = aws_s3_bucket.weft.id
  rule {
    apply_server_side_encryption_by_default {
      sse_algorithm     = "aws:kms"
      kms_master_key_id = aws_kms_key.weft.arn
    }
    bucket_key_enabled = true
  }
}

resource "aws_s3_bucket_lifecycle_configuration" "weft" {
  bucket = aws_s3_bucket.weft.id
  rule {
    id     = "backups"
    status = "Enabled"
    filter {
      prefix = "backups/"
    }
    expiration {
      days = 30
    }
    noncurrent_version_expiration {
      noncurrent_days = 30
    }
  }
}
