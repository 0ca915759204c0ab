{{- /*
What this release runs, as a JSON list: component, pool (workers only), name, kind, replicas, scales (whether something else
decides the number of replicas), values, ports. The one place that knows it; the object templates walk over it.
*/ -}}
{{- define "weft.components" -}}
{{- $name := include "weft.fullname" . -}}
{{- $out := list -}}
{{- $gatewayPorts := list (dict "name" "http" "port" 8080) (dict "name" "grpc" "port" 8081) (dict "name" "admin" "port" 9100) -}}
{{- $out = append $out (dict "component" "gateway" "pool" "" "name" (printf "%s-gateway" $name) "kind" "Deployment" "values" .Values.gateway "ports" $gatewayPorts) -}}
{{- $schedulerPorts := list (dict "name" "grpc" "port" 7101) (dict "name" "admin" "port" 9101) -}}
{{- $out = append $out (dict "component" "scheduler" "pool" "" "name" (printf "%s-scheduler" $name) "kind" "StatefulSet" "values" .Values.scheduler "ports" $schedulerPorts) -}}
{{- if not .Values.workers -}}
{{- fail "workers: give at least one pool, such as those in the chart's values/*.yaml" -}}
{{- end -}}
{{- range $pool, $values := .Values.workers -}}
{{- $v := include "weft.pool" (dict "root" $ "pool" $values) | fromYaml -}}
{{- $ports := list (dict "name" "grpc" "port" 7102) (dict "name" "admin" "port" 9102) -}}
{{- $out = append $out (dict "component" "worker" "pool" $pool "name" (printf "%s-worker-%s" $name $pool) "kind" $v.kind "values" $v "ports" $ports) -}}
{{- end -}}
{{- if .Values.scanner.enabled -}}
{{- $ports := list (dict "name" "grpc" "port" 7103) (dict "name" "admin" "port" 9103) -}}
{{- $out = append $out (dict "component" "scanner" "pool" "" "name" (printf "%s-scanner" $name) "kind" "Deployment" "values" .Values.scanner "ports" $ports) -}}
{{- end -}}
{{- if .Values.collector.enabled -}}
{{- $ports := list (dict "name" "otlp-grpc" "port" 4317) (dict "name" "otlp-http" "port" 4318) (dict "name" "admin" "port" 9104) -}}
{{- $out = append $out (dict "component" "collector" "pool" "" "name" (printf "%s-collector" $name) "kind" "StatefulSet" "values" .Values.collector "ports" $ports) -}}
{{- end -}}
{{- toJson $out -}}
{{- end -}}

{{- /* The weft.yaml of a component of that list. Input: root, component. */ -}}
{{- define "weft.configOf" -}}
{{- if eq .component.component "worker" -}}
{{- include "weft.config.worker" (dict "root" .root "name" .component.pool "values" .component.values) -}}
{{- else -}}
{{- include (printf "weft.config.%s" .component.component) .root -}}
{{- end -}}
{{- end -}}

{{- /* Whether an autoscaler decides the replicas. Input: values of a component. */ -}}
{{- define "weft.autoscaled" -}}
{{- if and .autoscaling (ne .autoscaling.mode "none") -}}true{{- end -}}
{{- end -}}

{{- /* Who makes a component's pods, as an object reference in flow style. Input: root, component (one of the list). */ -}}
{{- define "weft.scaleTarget" -}}
{{- if and (eq .component.component "gateway") (eq .root.Values.gateway.rollout.engine "argo") -}}
{apiVersion: argoproj.io/v1alpha1, kind: Rollout, name: {{ .component.name }}}
{{- else if eq .component.kind "LeaderWorkerSet" -}}
{apiVersion: leaderworkerset.x-k8s.io/v1, kind: LeaderWorkerSet, name: {{ .component.name }}-group}
{{- else -}}
{apiVersion: apps/v1, kind: {{ .component.kind }}, name: {{ .component.name }}}
{{- end -}}
{{- end -}}

{{- define "weft.scalingBehavior" -}}
scaleUp:
  stabilizationWindowSeconds: {{ .scaleUp.windowSeconds }}
  selectPolicy: Max
  policies:
    - {type: Percent, value: {{ .scaleUp.percent }}, periodSeconds: {{ .scaleUp.periodSeconds }}}
    - {type: Pods, value: {{ .scaleUp.pods }}, periodSeconds: {{ .scaleUp.periodSeconds }}}
scaleDown:
  stabilizationWindowSeconds: {{ .scaleDown.windowSeconds }}
  policies:
    - {type: Percent, value: {{ .scaleDown.percent }}, periodSeconds: {{ .scaleDown.periodSeconds }}}
{{- end -}}
