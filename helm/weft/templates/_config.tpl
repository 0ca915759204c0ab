{{- /*
The weft.yaml of each service. What the chart knows is written here; the component's `config` goes over it, and the
service checks the whole when it starts.
*/ -}}

{{- define "weft.config.telemetry" -}}
{{- $out := dict "log_level" .Values.logLevel
  "resource_attributes" (dict "deployment.environment" .Values.environment "k8s.namespace.name" .Release.Namespace "k8s.cluster.domain" .Values.clusterDomain) -}}
{{- $traces := dict "enabled" .Values.collector.enabled "sample_ratio" .Values.traceSampleRatio -}}
{{- if .Values.collector.enabled -}}
{{- $name := printf "%s-collector" (include "weft.fullname" .) -}}
{{- $_ := set $out "otlp_endpoint" (printf "dns:///%s" (include "weft.address" (dict "root" . "name" $name "port" 4317))) -}}
{{- if include "weft.meshTls" . -}}
{{- $_ := set $traces "tls" true -}}
{{- $_ := set $traces "ca_file" "/etc/weft-tls/ca.crt" -}}
{{- end -}}
{{- end -}}
{{- $_ := set $out "traces" $traces -}}
{{- toYaml (mustMergeOverwrite $out (deepCopy .Values.telemetry)) -}}
{{- end -}}

{{- define "weft.config.serverTls" -}}
enabled: true
certificate_file: /etc/weft-tls/tls.crt
key_file: /etc/weft-tls/tls.key
ca_file: /etc/weft-tls/ca.crt
require_client_certificate: {{ .require }}
{{- end -}}

{{- define "weft.config.clientTls" -}}
enabled: true
certificate_file: /etc/weft-tls/tls.crt
key_file: /etc/weft-tls/tls.key
ca_file: /etc/weft-tls/ca.crt
server_name: {{ .name }}
{{- end -}}

{{- define "weft.config.join" -}}
{{- $own := mustMergeOverwrite (fromYaml .own) (deepCopy .over) -}}
{{- toYaml (dict .section $own "telemetry" (fromYaml (include "weft.config.telemetry" .root))) -}}
{{- end -}}

{{- define "weft.config.gateway" -}}
{{- $name := include "weft.fullname" . -}}
{{- $schedulers := list -}}
{{- range $i := until (int .Values.scheduler.replicas) -}}
{{- $host := printf "%s-scheduler-%d.%s-scheduler" $name $i $name -}}
{{- $schedulers = append $schedulers (printf "dns:///%s" (include "weft.address" (dict "root" $ "name" $host "port" 7101))) -}}
{{- end -}}
{{- $own := dict
  "listen" (printf "%s:8080" .Values.network.listenHost)
  "grpc_listen" (printf "%s:8081" .Values.network.listenHost)
  "admin_listen" (printf "%s:9100" .Values.network.listenHost)
  "scheduler" (join "," $schedulers)
  "scanner" ""
  "scanner_on_failure" .Values.gateway.scannerOnFailure
  "usage" (dict "folder" "/var/lib/weft/usage")
  "drain_timeout" (printf "%vs" .Values.gateway.drainSeconds) -}}
{{- $idle := list -}}
{{- range $pool, $values := .Values.workers -}}
{{- $v := include "weft.pool" (dict "root" $ "pool" $values) | fromYaml -}}
{{- if $v.autoscaling.scaleToZero -}}
{{- if ne $v.autoscaling.mode "keda" -}}
{{- fail (printf "workers.%s.autoscaling.scaleToZero: only KEDA scales to zero; set autoscaling.mode: keda" $pool) -}}
{{- end -}}
{{- $idle = append $idle (required (printf "workers.%s.model.id: a pool that scales to zero is started by requests for this name" $pool) $v.model.id) -}}
{{- end -}}
{{- end -}}
{{- if $idle -}}
{{- if ge (len $idle) (len .Values.workers) -}}
{{- fail "workers: with autoscaling.scaleToZero in every pool no gateway would be ready; let one stay" -}}
{{- end -}}
{{- $_ := set $own "idle_models" $idle -}}
{{- end -}}
{{- /* The URL of a server has a password: it comes by the environment, from a Secret. */ -}}
{{- if not (include "weft.database" .) -}}
{{- $_ := set $own "database" "/var/lib/weft/gateway.db" -}}
{{- end -}}
{{- if .Values.keys.existingSecret -}}
{{- $_ := set $own "keys_file" (printf "/etc/weft-keys/%s" .Values.keys.file) -}}
{{- else -}}
{{- $_ := set $own "admin_key_file" "/var/lib/weft/admin.key" -}}
{{- end -}}
{{- if .Values.scanner.enabled -}}
{{- $_ := set $own "scanner" (printf "dns:///%s" (include "weft.address" (dict "root" . "name" (printf "%s-scanner" $name) "port" 7103))) -}}
{{- end -}}
{{- if include "weft.meshTls" . -}}
{{- $_ := set $own "scheduler_tls" (fromYaml (include "weft.config.clientTls" (dict "name" (printf "%s-scheduler" $name)))) -}}
{{- if .Values.scanner.enabled -}}
{{- $_ := set $own "scanner_tls" (fromYaml (include "weft.config.clientTls" (dict "name" (printf "%s-scanner" $name)))) -}}
{{- end -}}
{{- end -}}
{{- include "weft.config.join" (dict "root" . "section" "gateway" "own" (toYaml $own) "over" .Values.gateway.config) -}}
{{- end -}}

{{- define "weft.config.scheduler" -}}
{{- $name := include "weft.fullname" . -}}
{{- $workers := list -}}
{{- range $pool, $_ := .Values.workers -}}
{{- $workers = append $workers (printf "dns:///%s" (include "weft.address" (dict "root" $ "name" (printf "%s-worker-%s" $name $pool) "port" 7102))) -}}
{{- end -}}
{{- $own := dict
  "listen" (list (printf "%s:7101" .Values.network.listenHost))
  "admin_listen" (printf "%s:9101" .Values.network.listenHost)
  "workers" $workers
  "dns_interval" "2s"
  "drain_timeout" (printf "%vs" .Values.scheduler.drainSeconds) -}}
{{- if include "weft.meshTls" . -}}
{{- $_ := set $own "tls" (fromYaml (include "weft.config.serverTls" (dict "require" true))) -}}
{{- $_ := set $own "worker_tls" (fromYaml (include "weft.config.clientTls" (dict "name" (printf "%s-worker" $name)))) -}}
{{- end -}}
{{- include "weft.config.join" (dict "root" . "section" "scheduler" "own" (toYaml $own) "over" .Values.scheduler.config) -}}
{{- end -}}

{{- /* Input: root, name (the pool's), values (the pool's). */ -}}
{{- define "weft.config.worker" -}}
{{- $v := .values -}}
{{- if not $v.model.path -}}
{{- fail (printf "workers.%s.model.path: give the path of a GGUF file or a Hugging Face folder inside model.volume" .name) -}}
{{- end -}}
{{- $own := dict
  "listen" (list (printf "%s:7102" .root.Values.network.listenHost))
  "admin_listen" (printf "%s:9102" .root.Values.network.listenHost)
  "model" (printf "/models/%s" (trimPrefix "/" $v.model.path))
  "threads" $v.threads
  "kv_bytes" $v.kvBytes
  "drain_timeout" (printf "%vs" $v.drainSeconds) -}}
{{- with $v.model.id -}}
{{- $_ := set $own "model_id" . -}}
{{- end -}}
{{- if include "weft.meshTls" .root -}}
{{- $_ := set $own "tls" (fromYaml (include "weft.config.serverTls" (dict "require" true))) -}}
{{- end -}}
{{- include "weft.config.join" (dict "root" .root "section" "worker" "own" (toYaml $own) "over" $v.config) -}}
{{- end -}}

{{- define "weft.config.scanner" -}}
{{- $own := dict
  "listen" (list (printf "%s:7103" .Values.network.listenHost))
  "admin_listen" (printf "%s:9103" .Values.network.listenHost)
  "drain_timeout" (printf "%vs" .Values.scanner.drainSeconds) -}}
{{- if include "weft.meshTls" . -}}
{{- $_ := set $own "tls" (fromYaml (include "weft.config.serverTls" (dict "require" true))) -}}
{{- end -}}
{{- include "weft.config.join" (dict "root" . "section" "scanner" "own" (toYaml $own) "over" .Values.scanner.config) -}}
{{- end -}}

{{- define "weft.config.collector" -}}
{{- $own := dict
  "otlp_grpc_listen" (list (printf "%s:4317" .Values.network.listenHost))
  "otlp_http_listen" (printf "%s:4318" .Values.network.listenHost)
  "admin_listen" (printf "%s:9104" .Values.network.listenHost)
  "disk_queue" (dict "directory" "/var/lib/weft/spans")
  "export" (dict "endpoint" .Values.collector.export)
  "drain_timeout" (printf "%vs" .Values.collector.drainSeconds) -}}
{{- if include "weft.meshTls" . -}}
{{- $_ := set $own "tls" (fromYaml (include "weft.config.serverTls" (dict "require" false))) -}}
{{- end -}}
{{- include "weft.config.join" (dict "root" . "section" "collector" "own" (toYaml $own) "over" .Values.collector.config) -}}
{{- end -}}
