{{- /*
A pool whose model is spread over several pods, each a rank of it: a LeaderWorkerSet. The leader is rank 0, has the sessions and is
what Services, budgets and autoscalers count; the others are of the component `worker-rank`.
*/ -}}

{{- /* What tells a pod which rank it is; LeaderWorkerSet sets the LWS_ variables. Input: root, component. */ -}}
{{- define "weft.groupEnv" -}}
{{- $c := .component -}}
{{- $v := $c.values -}}
{{- $ranks := mul (dig "tensor_parallel" 1 $v.config) (dig "pipeline_parallel" 1 $v.config) -}}
{{- if or (lt (int $v.group.size) 2) (ne (int $v.group.size) (int $ranks)) -}}
{{- fail (printf "workers.%s.group.size: %v pods, but config.tensor_parallel times config.pipeline_parallel is %v ranks; each pod is one, and a LeaderWorkerSet has two at least" $c.pool $v.group.size $ranks) -}}
{{- end -}}
{{- $secret := required (printf "workers.%s.group.tokenSecret: name the Secret with what the ranks say to each other" $c.pool) $v.group.tokenSecret -}}
- {name: WEFT_WORKER_RANK, value: "$(LWS_WORKER_INDEX)"}
- {name: WEFT_WORKER_RANKS, value: "$(LWS_GROUP_SIZE)"}
- {name: WEFT_WORKER_RENDEZVOUS_ADDRESS, value: "$(LWS_LEADER_ADDRESS):9300"}
- {name: WEFT_WORKER_RENDEZVOUS_TOKEN, valueFrom: {secretKeyRef: {name: {{ $secret }}, key: {{ $v.group.tokenKey }}}}}
{{- if include "weft.meshTls" .root }}
{{- range $side := list "TLS" "CLIENT_TLS" }}
- {name: WEFT_WORKER_RENDEZVOUS_{{ $side }}_ENABLED, value: "true"}
- {name: WEFT_WORKER_RENDEZVOUS_{{ $side }}_CERTIFICATE_FILE, value: /etc/weft-tls/tls.crt}
- {name: WEFT_WORKER_RENDEZVOUS_{{ $side }}_KEY_FILE, value: /etc/weft-tls/tls.key}
- {name: WEFT_WORKER_RENDEZVOUS_{{ $side }}_CA_FILE, value: /etc/weft-tls/ca.crt}
{{- end }}
- {name: WEFT_WORKER_RENDEZVOUS_TLS_REQUIRE_CLIENT_CERTIFICATE, value: "true"}
- {name: WEFT_WORKER_RENDEZVOUS_CLIENT_TLS_SERVER_NAME, value: {{ include "weft.fullname" .root }}-worker}
{{- end }}
{{- end -}}

{{- /* Input: root, component, pod (what weft.podTemplate takes). */ -}}
{{- define "weft.group" -}}
{{- $v := .component.values -}}
{{- $leader := include "weft.podTemplate" .pod -}}
---
apiVersion: leaderworkerset.x-k8s.io/v1
kind: LeaderWorkerSet
metadata:
  {{- include "weft.metadata" (dict "root" .root "component" "worker" "pool" .component.pool "name" (printf "%s-group" .component.name)) | nindent 2 }}
spec:
  {{- if not (include "weft.autoscaled" $v) }}
  replicas: {{ $v.replicas }}
  {{- end }}
  startupPolicy: LeaderCreated
  rolloutStrategy:
    type: RollingUpdate
    rollingUpdateConfiguration: {maxUnavailable: 1, maxSurge: 0}
  networkConfig: {subdomainPolicy: Shared}
  leaderWorkerTemplate:
    size: {{ $v.group.size }}
    # A rank that ends ends its group, and all meet again.
    restartPolicy: RecreateGroupOnPodRestart
    leaderTemplate:
      {{- $leader | nindent 6 }}
    workerTemplate:
      {{- regexReplaceAll "(?m)(app\\.kubernetes\\.io/component: )worker$" $leader "${1}worker-rank" | nindent 6 }}
{{- end -}}
