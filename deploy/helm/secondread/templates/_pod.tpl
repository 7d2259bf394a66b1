{{- define "secondread.labels" -}}
app.kubernetes.io/name: secondread
app.kubernetes.io/instance: {{ .root.Release.Name }}
{{- with .process }}
app.kubernetes.io/component: {{ . }}
{{- end }}
{{- end -}}

{{- define "secondread.metadata" -}}
name: {{ .root.Release.Name }}-{{ .name }}
namespace: {{ .root.Release.Namespace }}
labels:
  {{- include "secondread.labels" . | nindent 2 }}
  app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
  app.kubernetes.io/managed-by: {{ .root.Release.Service }}
  helm.sh/chart: {{ .root.Chart.Name }}-{{ .root.Chart.Version }}
{{- end -}}

{{- define "secondread.claim" -}}
{{ .Values.data.existingClaim | default (printf "%s-data" .Release.Name) }}
{{- end -}}

{{- define "secondread.image" -}}
{{- $image := .root.Values.image -}}
{{- $tag := ternary $image.cudaTag $image.tag .gpu -}}
{{- $digest := ternary $image.cudaDigest $image.digest .gpu -}}
{{ $image.repository }}:{{ $tag }}{{ with $digest }}@{{ . }}{{ end }}
{{- end -}}

{{/* One process of SecondRead. root, process, values, command, metrics (port), grace (seconds), gpu;
     ports by name, environment by name. */}}
{{- define "secondread.pod" -}}
metadata:
  labels:
    {{- include "secondread.labels" . | nindent 4 }}
  annotations:
    checksum/config: {{ .root.Values.config | sha256sum }}
spec:
  automountServiceAccountToken: false
  enableServiceLinks: false
  terminationGracePeriodSeconds: {{ .grace }}
  {{- with .root.Values.image.pullSecrets }}
  imagePullSecrets:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- if .gpu }}
  {{- with .values.gpu.runtimeClassName }}
  runtimeClassName: {{ . }}
  {{- end }}
  {{- end }}
  {{- with .values.nodeSelector }}
  nodeSelector:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .values.tolerations }}
  tolerations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  securityContext:
    runAsNonRoot: true
    runAsUser: 10001
    runAsGroup: 10001
    fsGroup: 10001
    fsGroupChangePolicy: OnRootMismatch
    seccompProfile: { type: RuntimeDefault }
  containers:
    - name: {{ .process }}
      image: {{ include "secondread.image" . | quote }}
      imagePullPolicy: {{ .root.Values.image.pullPolicy }}
      args: {{ toJson .command }}
      env:
        - { name: SECONDREAD_CONFIG, value: /etc/secondread/secondread.toml }
        - { name: SECONDREAD_JOURNAL__URL_FILE, value: /etc/secondread/journal/url }
        - { name: SECONDREAD_BROKER__URL_FILE, value: /etc/secondread/broker/url }
        {{- with .root.Values.spool }}
        {{- if .bucket }}
        - { name: SECONDREAD_SPOOL__BUCKET, value: {{ .bucket | quote }} }
        - { name: SECONDREAD_SPOOL__REGION, value: {{ .region | quote }} }
        {{- with .endpoint }}
        - { name: SECONDREAD_SPOOL__ENDPOINT, value: {{ . | quote }} }
        {{- end }}
        {{- if .credentials.name }}
        - { name: SECONDREAD_SPOOL__CREDENTIALS_FILE, value: /etc/secondread/spool/credentials }
        {{- end }}
        {{- end }}
        {{- end }}
        {{- range $name, $value := .environment }}
        - { name: {{ $name }}, value: {{ $value | quote }} }
        {{- end }}
      ports:
        - { name: metrics, containerPort: {{ .metrics }} }
        {{- range $name, $port := .ports }}
        - { name: {{ $name }}, containerPort: {{ $port }} }
        {{- end }}
      # While the journal is away /healthz says so, and nothing is gained by a restart: a process is
      # restarted when it answers nothing at all, as `secondread up` does.
      startupProbe:
        httpGet: { path: /healthz, port: metrics }
        periodSeconds: 5
        timeoutSeconds: 5
        failureThreshold: 120
      readinessProbe:
        httpGet: { path: /healthz, port: metrics }
        periodSeconds: 10
        timeoutSeconds: 5
      livenessProbe:
        httpGet: { path: /metrics, port: metrics }
        periodSeconds: 20
        timeoutSeconds: 10
      resources:
        requests:
          {{- toYaml .values.resources.requests | nindent 10 }}
        limits:
          {{- toYaml .values.resources.limits | nindent 10 }}
          {{- if .gpu }}
          nvidia.com/gpu: 1
          {{- end }}
      securityContext:
        allowPrivilegeEscalation: false
        readOnlyRootFilesystem: true
        runAsNonRoot: true
        runAsUser: 10001
        capabilities: { drop: [ALL] }
      volumeMounts:
        - { name: data, mountPath: /var/lib/secondread }
        {{- if .root.Values.spool.bucket }}
        - { name: cache, mountPath: /var/lib/secondread/cache }
        {{- if .root.Values.spool.credentials.name }}
        - { name: spool, mountPath: /etc/secondread/spool, readOnly: true }
        {{- end }}
        {{- end }}
        - { name: tmp, mountPath: /tmp }
        - { name: config, mountPath: /etc/secondread/secondread.toml, subPath: secondread.toml, readOnly: true }
        - { name: journal, mountPath: /etc/secondread/journal, readOnly: true }
        - { name: broker, mountPath: /etc/secondread/broker, readOnly: true }
        {{- if eq .process "web" }}
        - { name: web-tls, mountPath: /etc/secondread/web-tls, readOnly: true }
        {{- end }}
        {{- range $number, $secret := .root.Values.secrets.extra }}
        - { name: extra-{{ $number }}, mountPath: {{ $secret.path }}, readOnly: true }
        {{- end }}
  volumes:
    - name: data
      persistentVolumeClaim: { claimName: {{ include "secondread.claim" .root }} }
    {{- with .root.Values.spool }}
    {{- if .bucket }}
    - name: cache
      emptyDir: { sizeLimit: {{ .cache }} }
    {{- with .credentials }}
    {{- if .name }}
    - name: spool
      secret:
        secretName: {{ .name }}
        defaultMode: 0440
        items: [{ key: {{ .key }}, path: credentials }]
    {{- end }}
    {{- end }}
    {{- end }}
    {{- end }}
    - name: tmp
      emptyDir: { sizeLimit: 2Gi }
    - name: config
      configMap: { name: {{ .root.Release.Name }}-config }
    {{- range $name := list "journal" "broker" }}
    {{- $secret := index $.root.Values.secrets $name }}
    - name: {{ $name }}
      secret:
        secretName: {{ $secret.name }}
        defaultMode: 0440
        items: [{ key: {{ $secret.key }}, path: url }]
    {{- end }}
    {{- if eq .process "web" }}
    - name: web-tls
      secret: { secretName: {{ .root.Values.secrets.webTls }}, defaultMode: 0440 }
    {{- end }}
    {{- range $number, $secret := .root.Values.secrets.extra }}
    - name: extra-{{ $number }}
      secret: { secretName: {{ $secret.name }}, defaultMode: 0440 }
    {{- end }}
{{- end -}}
