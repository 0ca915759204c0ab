{{- /*
A pod of the mesh. Input (a dict): root, component, pool, name, values (the component's), image, ports
(list of name and number), config (the text of weft.yaml), mounts and volumes (lists), env (list),
resources (over the values'), runtimeClassName, nodeSelector, tolerations.
The ports' names are those of the Service. `admin` answers /health (does it progress?) and /ready (can it serve?).
*/ -}}
{{- define "weft.podTemplate" -}}
{{- $root := .root -}}
{{- $v := .values -}}
metadata:
  labels:
    {{- include "weft.labels" . | nindent 4 }}
    {{- with include "weft.trackLabel" (dict "root" $root "component" .) }}
    {{- . | nindent 4 }}
    {{- end }}
    {{- with $v.podLabels }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  annotations:
    checksum/config: {{ .config | sha256sum }}
    {{- with $v.podAnnotations }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
spec:
  serviceAccountName: {{ include "weft.serviceAccount" . }}
  automountServiceAccountToken: false
  enableServiceLinks: false
  terminationGracePeriodSeconds: {{ include "weft.gracePeriod" $v }}
  {{- with $root.Values.image.pullSecrets }}
  imagePullSecrets:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with default (ternary $root.Values.priorityClass.name "" (ne $root.Values.priorityClass.name "")) $v.priorityClassName }}
  priorityClassName: {{ . }}
  {{- end }}
  {{- with .runtimeClassName }}
  runtimeClassName: {{ . }}
  {{- end }}
  securityContext:
    runAsNonRoot: true
    runAsUser: 65532
    runAsGroup: 65532
    fsGroup: 65532
    fsGroupChangePolicy: OnRootMismatch
    seccompProfile: {type: RuntimeDefault}
  {{- with default $v.nodeSelector .nodeSelector }}
  nodeSelector:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with default $v.tolerations .tolerations }}
  tolerations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- if $v.affinity }}
  affinity:
    {{- toYaml $v.affinity | nindent 4 }}
  {{- else if ne $root.Values.spread.antiAffinity "none" }}
  affinity:
    podAntiAffinity:
      {{- if eq $root.Values.spread.antiAffinity "required" }}
      requiredDuringSchedulingIgnoredDuringExecution:
        - topologyKey: kubernetes.io/hostname
          labelSelector:
            matchLabels:
              {{- include "weft.selector" . | nindent 14 }}
      {{- else }}
      preferredDuringSchedulingIgnoredDuringExecution:
        - weight: 100
          podAffinityTerm:
            topologyKey: kubernetes.io/hostname
            labelSelector:
              matchLabels:
                {{- include "weft.selector" . | nindent 16 }}
      {{- end }}
  {{- end }}
  topologySpreadConstraints:
    - maxSkew: {{ $root.Values.spread.maxSkew }}
      topologyKey: {{ $root.Values.spread.zoneKey }}
      whenUnsatisfiable: {{ $root.Values.spread.whenUnsatisfiable }}
      labelSelector:
        matchLabels:
          {{- include "weft.selector" . | nindent 10 }}
  {{- with .pull }}
  initContainers:
    # Does nothing when the volume has the model already.
    - name: pull
      image: {{ include "weft.image" (dict "root" $root "name" "weft-weftctl") }}
      imagePullPolicy: {{ $root.Values.image.pullPolicy }}
      args:
        - pull
        - {{ .source | quote }}
        - /models
        {{- range .sha256 }}
        - --sha256={{ . }}
        {{- end }}
        {{- if .plainHttp }}
        - --plain-http
        {{- end }}
      {{- with .envSecret }}
      envFrom: [{secretRef: {name: {{ . }}}}]
      {{- end }}
      {{- if .dockerConfigSecret }}
      env: [{name: DOCKER_CONFIG, value: /etc/docker}]
      {{- end }}
      securityContext:
        {{- include "weft.dataContainerSecurity" $root | nindent 8 }}
      resources:
        {{- toYaml .resources | nindent 8 }}
      volumeMounts:
        - {name: models, mountPath: /models}
        {{- if .dockerConfigSecret }}
        - {name: docker, mountPath: /etc/docker, readOnly: true}
        {{- end }}
  {{- end }}
  containers:
    - name: weft-{{ .component }}
      image: {{ include "weft.image" (dict "root" $root "name" .image) }}
      imagePullPolicy: {{ $root.Values.image.pullPolicy }}
      args: [--config, /etc/weft/weft.yaml]
      {{- with .env }}
      env:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      ports:
        {{- range .ports }}
        - {name: {{ .name }}, containerPort: {{ .port }}}
        {{- end }}
      securityContext:
        allowPrivilegeEscalation: false
        readOnlyRootFilesystem: true
        runAsNonRoot: true
        capabilities: {drop: [ALL]}
      resources:
        {{- toYaml (default $v.resources .resources) | nindent 8 }}
      startupProbe:
        httpGet: {path: /ready, port: admin}
        periodSeconds: 2
        timeoutSeconds: 2
        failureThreshold: {{ div (add $v.startupSeconds 1) 2 }}
      livenessProbe:
        httpGet: {path: /health, port: admin}
        periodSeconds: 10
        timeoutSeconds: 5
        failureThreshold: 3
      readinessProbe:
        httpGet: {path: /ready, port: admin}
        periodSeconds: 2
        timeoutSeconds: 2
        failureThreshold: 2
      {{- if gt (int $v.preStopSeconds) 0 }}
      lifecycle:
        preStop:
          sleep: {seconds: {{ $v.preStopSeconds }}}
      {{- end }}
      volumeMounts:
        - {name: config, mountPath: /etc/weft, readOnly: true}
        - {name: state, mountPath: /var/lib/weft}
        - {name: tmp, mountPath: /tmp}
        {{- if include "weft.meshTls" $root }}
        - {name: tls, mountPath: /etc/weft-tls, readOnly: true}
        {{- end }}
        {{- with .mounts }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
  volumes:
    - name: config
      configMap: {name: {{ .name }}}
    - name: tmp
      emptyDir: {}
    {{- if include "weft.meshTls" $root }}
    - name: tls
      secret: {secretName: {{ include "weft.certificateSecret" . }}, defaultMode: 288}
    {{- end }}
    {{- with .volumes }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
{{- end -}}
