{{- define "sluicegate.name" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride -}}
{{- else if contains .Chart.Name .Release.Name -}}
{{- .Release.Name | trunc 52 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name .Chart.Name | trunc 52 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- /* Names of cluster-scoped objects contain the namespace, because two releases may have the same name. */ -}}
{{- define "sluicegate.clusterName" -}}
{{- printf "%s:%s" .Release.Namespace (include "sluicegate.name" .) -}}
{{- end -}}

{{- define "sluicegate.selector" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "sluicegate.labels" -}}
{{ include "sluicegate.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end -}}

{{- define "sluicegate.subject" -}}
- kind: ServiceAccount
  name: {{ include "sluicegate.name" . }}
  namespace: {{ .Release.Namespace }}
{{- end -}}

{{- define "sluicegate.image" -}}
{{- if .Values.image.digest -}}
{{- printf "%s@%s" .Values.image.repository .Values.image.digest -}}
{{- else -}}
{{- printf "%s:%s" .Values.image.repository (.Values.image.tag | default .Chart.AppVersion) -}}
{{- end -}}
{{- end -}}

{{- /* Not empty if a registry may send webhooks. */ -}}
{{- define "sluicegate.webhooks" -}}
{{- range $name, $registry := .Values.settings.registries }}
{{- if and $registry.registerWebhook (not $registry.webhookSecret) }}
{{- fail (printf "settings.registries.%s.registerWebhook requires webhookSecret, the Secret that the webhook is signed with." $name) -}}
{{- end }}
{{- end -}}
{{- range .Values.settings.registries }}{{ .webhookSecret | default "" }}{{ end -}}
{{- end -}}

{{- define "sluicegate.settings" -}}
{{- range $index, $ref := (.Values.settings.gateway).parentRefs -}}
{{- if not $ref.namespace -}}
{{- fail (printf "settings.gateway.parentRefs[%d] (%s) requires a namespace, because it applies to resources of every namespace." $index $ref.name) -}}
{{- end -}}
{{- end -}}
{{- range $name, $notification := .Values.settings.notifications -}}
{{- if eq (empty $notification.url) (empty $notification.secret) -}}
{{- fail (printf "settings.notifications.%s requires either url or secret." $name) -}}
{{- end -}}
{{- end -}}
{{- $settings := deepCopy .Values.settings -}}
{{- if .Values.watchNamespace -}}
{{- $settings = set $settings "namespace" .Values.watchNamespace -}}
{{- end -}}
{{- toYaml $settings -}}
{{- end -}}

{{- /* Permissions in a watched namespace. The operator never writes a spec, a pod, a Secret or a role. */ -}}
{{- define "sluicegate.rules" -}}
- apiGroups: [sluicegate.dev]
  resources: [modeldeployments]
  verbs: [get, list, watch]
- apiGroups: [sluicegate.dev]
  resources: [modeldeployments/status]
  verbs: [get, patch]
- apiGroups: [apps]
  resources: [deployments, controllerrevisions]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [""]
  resources: [services]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [autoscaling]
  resources: [horizontalpodautoscalers]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [policy]
  resources: [poddisruptionbudgets]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [gateway.networking.k8s.io]
  resources: [httproutes]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [gateway.networking.k8s.io]
  resources: [gateways]
  verbs: [get, list, watch]
- apiGroups: [""]
  resources: [pods]
  verbs: [get, list, watch]
- apiGroups: [discovery.k8s.io]
  resources: [endpointslices]
  verbs: [get, list, watch]
- apiGroups: [""]
  resources: [events]
  verbs: [create, patch]
{{- end -}}

{{- define "sluicegate.gatewayClassRule" -}}
- apiGroups: [gateway.networking.k8s.io]
  resources: [gatewayclasses]
  verbs: [get, list, watch]
{{- end -}}

{{- /* One binding: (dict "root" $ "kind" "Role" "name" NAME "namespace" NAMESPACE, empty for a ClusterRoleBinding). */ -}}
{{- define "sluicegate.binding" -}}
apiVersion: rbac.authorization.k8s.io/v1
kind: {{ .kind }}Binding
metadata:
  name: {{ .name | quote }}
  {{- with .namespace }}
  namespace: {{ . }}
  {{- end }}
  labels:
    {{- include "sluicegate.labels" .root | nindent 4 }}
roleRef:
  apiGroup: rbac.authorization.k8s.io
  kind: {{ .kind }}
  name: {{ .name | quote }}
subjects:
  {{- include "sluicegate.subject" .root | nindent 2 }}
{{- end -}}

{{- /* The start of a role, up to its rules. The arguments are the same. */ -}}
{{- define "sluicegate.role" -}}
apiVersion: rbac.authorization.k8s.io/v1
kind: {{ .kind }}
metadata:
  name: {{ .name | quote }}
  {{- with .namespace }}
  namespace: {{ . }}
  {{- end }}
  labels:
    {{- include "sluicegate.labels" .root | nindent 4 }}
rules:
{{- end -}}
