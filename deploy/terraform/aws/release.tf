module "release" {
  source       = "../release"
  chart        = var.chart
  values       = var.values
  host         = var.host
  keys_json    = var.keys_json
  database_url = "postgresql://weft:${random_password.database.result}@${aws_db_instance.weft.address}:5432/weft?sslmode=require"
  redis_url    = "rediss://:${random_password.redis.result}@${aws_elasticache_replication_group.weft.primary_endpoint_address}:6379/0"
  depends_on   = [aws_eks_addon.weft]
}

data "aws_route53_zone" "weft" {
  name = var.dns_zone
}

# The ingress controller's load balancer is known after the first apply: give its name then.
resource "aws_route53_record" "weft" {
  count   = var.ingress_target == "" ? 0 : 1
  zone_id = data.aws_route53_zone.weft.zone_id
  name    = var.host
  type    = "CNAME"
  ttl     = 60
  records = [var.ingress_target]
}
