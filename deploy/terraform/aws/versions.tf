terraform {
  required_version = ">= 1.6"
  required_providers {
    aws        = { source = "hashicorp/aws", version = "~> 6.0" }
    helm       = { source = "hashicorp/helm", version = "~> 3.0" }
    kubernetes = { source = "hashicorp/kubernetes", version = "~> 2.35" }
    random     = { source = "hashicorp/random", version = "~> 3.6" }
  }
}

provider "aws" {
  region = var.region
  default_tags {
    tags = merge({ project = "weft", environment = var.environment }, var.tags)
  }
}

data "aws_eks_cluster_auth" "weft" {
  name = aws_eks_cluster.weft.name
}

provider "kubernetes" {
  host                   = aws_eks_cluster.weft.endpoint
  cluster_ca_certificate = base64decode(aws_eks_cluster.weft.certificate_authority[0].data)
  token                  = data.aws_eks_cluster_auth.weft.token
}

provider "helm" {
  kubernetes = {
    host                   = aws_eks_cluster.weft.endpoint
    cluster_ca_certificate = base64decode(aws_eks_cluster.weft.certificate_authority[0].data)
    token                  = data.aws_eks_cluster_auth.weft.token
  }
}
