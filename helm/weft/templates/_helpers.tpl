{{- define "weft.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- if contains $name .Release.Name -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- /* The labels that select pods. They must never change while a release lives. Input: root, component, pool. */ -}}
{{- define "weft.selector" -}}
app.kubernetes.io/name: weft
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- with .pool }}
weft.dev/pool: {{ . }}
{{- end }}
{{- end -}}

{{- /*
Flagger tells two versions apart by changing the first of the selector's labels `app`, `name`, `app.kubernetes.io/name`: without an
`app` it would be the one by which policies know the mesh. Input: root, component (a dict with component and name).
*/ -}}
{{- define "weft.trackLabel" -}}
{{- if and (eq .component.component "gateway") (eq .root.Values.gateway.rollout.engine "flagger") -}}
app: {{ .component.name }}
{{- end -}}
{{- end -}}

{{- define "weft.labels" -}}
{{ include "weft.selector" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
app.kubernetes.io/part-of: weft
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" }}
{{- with .root.Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- /* metadata of an object. Input: root, component, pool, name; annotations may be absent. */ -}}
{{- define "weft.metadata" -}}
name: {{ .name }}
namespace: {{ .root.Release.Namespace }}
labels:
  {{- include "weft.labels" . | nindent 2 }}
{{- with merge (dict) (default dict .annotations) .root.Values.commonAnnotations }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{- define "weft.image" -}}
{{- $image := .root.Values.image -}}
{{- $name := printf "%s/%s" $image.registry .name -}}
{{- $digest := get $image.digests .name -}}
{{- if $digest -}}
{{- printf "%s@%s" $name $digest -}}
{{- else -}}
{{- printf "%s:%s" $name (default .root.Chart.AppVersion $image.tag) -}}
{{- end -}}
{{- end -}}

{{- define "weft.serviceAccount" -}}
{{- if .root.Values.serviceAccount.create -}}
{{ include "weft.fullname" .root }}-{{ .component }}
{{- else -}}
default
{{- end -}}
{{- end -}}

{{- /* Host name of a Service of this release, with its port. Input: root, name, port. */ -}}
{{- define "weft.address" -}}
{{ printf "%s.%s.svc.%s:%v" .name .root.Release.Namespace .root.Values.clusterDomain .port }}
{{- end -}}

{{- define "weft.meshTls" -}}
{{- if .Values.tls.mesh.enabled -}}
{{- if not (or .Values.tls.mesh.existingSecret .Values.tls.mesh.certManager.enabled) -}}
{{- fail "tls.mesh.enabled: give tls.mesh.existingSecret, or set tls.mesh.certManager.enabled" -}}
{{- end -}}
true
{{- end -}}
{{- end -}}

{{- /* Name of the Secret with a component's certificate. */ -}}
{{- define "weft.certificateSecret" -}}
{{- if .root.Values.tls.mesh.certManager.enabled -}}
{{ include "weft.fullname" .root }}-{{ .component }}-tls
{{- else -}}
{{ .root.Values.tls.mesh.existingSecret }}
{{- end -}}
{{- end -}}

{{- /* The values of a worker pool: workerDefaults with the pool's own over them, as YAML. */ -}}
{{- define "weft.pool" -}}
{{- toYaml (mustMergeOverwrite (deepCopy .root.Values.workerDefaults) (deepCopy (default dict .pool))) -}}
{{- end -}}

{{- /* After the drain time the services still end sessions and flush spans: seconds they may take. */ -}}
{{- define "weft.gracePeriod" -}}
{{ add .preStopSeconds .drainSeconds 15 }}
{{- end -}}
