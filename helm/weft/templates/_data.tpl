{{- /*
The data stores: a Redis and a PostgreSQL of the chart's own (for trial), a CloudNativePG cluster, PgBouncer, or those of somebody
else, known by a Secret with a URL. Where the gateways' database is, is decided here.
*/ -}}

{{- /* Which database: "" (each gateway's own SQLite file), existing, postgresql or cloudnativepg. */ -}}
{{- define "weft.database" -}}
{{- $chosen := list -}}
{{- if .Values.database.existingSecret }}{{- $chosen = append $chosen "existing" }}{{- end -}}
{{- if .Values.postgresql.enabled }}{{- $chosen = append $chosen "postgresql" }}{{- end -}}
{{- if .Values.cloudnativepg.enabled }}{{- $chosen = append $chosen "cloudnativepg" }}{{- end -}}
{{- if gt (len $chosen) 1 -}}
{{- fail (printf "database: choose one of database.existingSecret, postgresql.enabled and cloudnativepg.enabled, not %s" (join " and " $chosen)) -}}
{{- end -}}
{{- if and .Values.pgbouncer.enabled (not $chosen) -}}
{{- fail "pgbouncer.enabled: there is no PostgreSQL behind it; set postgresql.enabled, cloudnativepg.enabled or database.existingSecret" -}}
{{- end -}}
{{- join "" $chosen -}}
{{- end -}}

{{- /* Which Redis: "", existing or chart. */ -}}
{{- define "weft.redis" -}}
{{- if and .Values.redis.enabled .Values.redis.existingSecret -}}
{{- fail "redis: redis.enabled runs one in the cluster, redis.existingSecret names another; choose one" -}}
{{- end -}}
{{- if .Values.redis.enabled }}chart{{ else if .Values.redis.existingSecret }}existing{{ end -}}
{{- end -}}

{{- /* Environment, mounts and volumes of a gateway for its stores, as YAML of {env, mounts, volumes}. */ -}}
{{- define "weft.gatewayStores" -}}
{{- $name := include "weft.fullname" . -}}
{{- $env := list -}}
{{- $mounts := list -}}
{{- $volumes := list -}}
{{- $authority := "" -}}
{{- with include "weft.database" . -}}
  {{- $secret := dict "name" (printf "%s-database" $name) "key" "url" -}}
  {{- $authority = $secret.name -}}
  {{- if eq . "existing" -}}
    {{- $secret = dict "name" $.Values.database.existingSecret "key" $.Values.database.urlKey -}}
    {{- $authority = $.Values.database.caSecret -}}
  {{- else if eq . "cloudnativepg" -}}
    {{- $authority = printf "%s-postgres-ca" $name -}}
  {{- end -}}
  {{- if eq . "cloudnativepg" -}}
    {{- $host := printf "%s-postgres-%s" $name (ternary "pooler" "rw" $.Values.pgbouncer.enabled) -}}
    {{- range $variable, $key := dict "DATABASE_USER" "username" "DATABASE_PASSWORD" "password" -}}
      {{- $env = append $env (dict "name" $variable "valueFrom" (dict "secretKeyRef" (dict "name" (printf "%s-postgres-app" $name) "key" $key))) -}}
    {{- end -}}
    {{- $url := printf "postgresql://$(DATABASE_USER):$(DATABASE_PASSWORD)@%s/%s?sslmode=verify-ca&sslrootcert=/etc/weft-database/ca.crt" (include "weft.address" (dict "root" $ "name" $host "port" 5432)) $.Values.cloudnativepg.database -}}
    {{- $env = append $env (dict "name" "WEFT_GATEWAY_DATABASE" "value" $url) -}}
  {{- else -}}
    {{- $env = append $env (dict "name" "WEFT_GATEWAY_DATABASE" "valueFrom" (dict "secretKeyRef" $secret)) -}}
  {{- end -}}
  {{- with $authority -}}
    {{- $volumes = append $volumes (dict "name" "database-ca" "secret" (dict "secretName" . "defaultMode" 288 "items" (list (dict "key" "ca.crt" "path" "ca.crt")))) -}}
    {{- $mounts = append $mounts (dict "name" "database-ca" "mountPath" "/etc/weft-database" "readOnly" true) -}}
  {{- end -}}
{{- end -}}
{{- with include "weft.redis" . -}}
  {{- $secret := dict "name" (printf "%s-redis" $name) "key" "url" -}}
  {{- if eq . "existing" -}}
    {{- $secret = dict "name" $.Values.redis.existingSecret "key" $.Values.redis.urlKey -}}
  {{- end -}}
  {{- $env = append $env (dict "name" "WEFT_GATEWAY_REDIS_URL" "valueFrom" (dict "secretKeyRef" $secret)) -}}
  {{- with $.Values.redis.caSecret -}}
    {{- $volumes = append $volumes (dict "name" "redis-ca" "secret" (dict "secretName" . "defaultMode" 288 "items" (list (dict "key" "ca.crt" "path" "ca.crt")))) -}}
    {{- $mounts = append $mounts (dict "name" "redis-ca" "mountPath" "/etc/weft-redis" "readOnly" true) -}}
    {{- $env = append $env (dict "name" "WEFT_GATEWAY_REDIS_CA_FILE" "value" "/etc/weft-redis/ca.crt") -}}
  {{- end -}}
{{- end -}}
{{- toYaml (dict "env" $env "mounts" $mounts "volumes" $volumes) -}}
{{- end -}}

{{- /*
The part of a pod's spec that every data store has. Input: root, component, values, user (number).
*/ -}}
{{- define "weft.dataPod" -}}
{{- $root := .root -}}
automountServiceAccountToken: false
enableServiceLinks: false
{{- with $root.Values.image.pullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with default $root.Values.priorityClass.name .values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
securityContext:
  runAsNonRoot: true
  runAsUser: {{ .user }}
  runAsGroup: {{ .user }}
  fsGroup: {{ .user }}
  fsGroupChangePolicy: OnRootMismatch
  seccompProfile: {type: RuntimeDefault}
{{- with .values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .values.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
topologySpreadConstraints:
  - maxSkew: {{ $root.Values.spread.maxSkew }}
    topologyKey: {{ $root.Values.spread.zoneKey }}
    whenUnsatisfiable: {{ $root.Values.spread.whenUnsatisfiable }}
    labelSelector:
      matchLabels:
        {{- include "weft.selector" . | nindent 8 }}
{{- end -}}

{{- define "weft.dataContainerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
runAsNonRoot: true
capabilities: {drop: [ALL]}
{{- end -}}

{{- /* Labels and annotations of such a pod. Input: root, component, values, config (what it is rolled by). */ -}}
{{- define "weft.dataPodMeta" -}}
labels:
  {{- include "weft.labels" . | nindent 2 }}
  {{- with .values.podLabels }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
annotations:
  checksum/config: {{ .config | sha256sum }}
  {{- with .values.podAnnotations }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end -}}

{{- /* The claim of a store with one volume, or its emptyDir. Input: values. */ -}}
{{- define "weft.dataClaim" -}}
- apiVersion: v1
  kind: PersistentVolumeClaim
  metadata: {name: data}
  spec:
    accessModes: [ReadWriteOnce]
    {{- with .persistence.storageClass }}
    storageClassName: {{ . }}
    {{- end }}
    resources: {requests: {storage: {{ .persistence.size }}}}
{{- end -}}
