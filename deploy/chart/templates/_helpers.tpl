{{- define "pysfu.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 40 | trimSuffix "-" -}}
{{- end -}}

{{- /* Names of pods are node ids: this and a number. */ -}}
{{- define "pysfu.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" -}}
{{- else if contains (include "pysfu.name" .) .Release.Name -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name (include "pysfu.name" .) | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "pysfu.selector" -}}
app.kubernetes.io/name: {{ include "pysfu.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "pysfu.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{ include "pysfu.selector" . }}
{{- end -}}

{{- define "pysfu.nodeLabels" -}}
{{ include "pysfu.selector" . }}
app.kubernetes.io/component: node
{{- end -}}

{{- define "pysfu.natsLabels" -}}
{{ include "pysfu.selector" . }}
app.kubernetes.io/component: nats
{{- end -}}

{{- define "pysfu.natsName" -}}
{{- printf "%s-nats" (include "pysfu.fullname" .) -}}
{{- end -}}

{{- define "pysfu.bundlesNats" -}}
{{- if and .Values.nats.bundled.enabled (not .Values.nats.urls) -}}yes{{- end -}}
{{- end -}}

{{- define "pysfu.serviceAccount" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "pysfu.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{- define "pysfu.apiKeysSecret" -}}
{{- default (printf "%s-keys" (include "pysfu.fullname" .)) .Values.apiKeys.existingSecret -}}
{{- end -}}

{{- /* As many pods as there may ever be. */ -}}
{{- define "pysfu.mostReplicas" -}}
{{- if .Values.autoscaling.enabled -}}{{ max .Values.replicas .Values.autoscaling.maxReplicas }}{{- else -}}{{ .Values.replicas }}{{- end -}}
{{- end -}}

{{- define "pysfu.natsUrls" -}}
{{- if .Values.nats.urls -}}
{{- join "," .Values.nats.urls -}}
{{- else -}}
{{- $name := include "pysfu.natsName" . -}}
{{- $urls := list -}}
{{- range $index := until (int .Values.nats.bundled.replicas) -}}
{{- $urls = append $urls (printf "nats://pysfu:$(NATS_PASSWORD)@%s-%d.%s.%s.svc:4222" $name $index $name $.Release.Namespace) -}}
{{- end -}}
{{- join "," $urls -}}
{{- end -}}
{{- end -}}

{{- /* What must be chosen, and what cannot be together. */ -}}
{{- define "pysfu.check" -}}
{{- if not (or .Values.apiKeys.existingSecret .Values.apiKeys.value) -}}
{{- fail "apiKeys: set existingSecret, or value to \"key: secret\" with a secret of 32 characters or more" -}}
{{- end -}}
{{- if not (or .Values.certificates.existingSecret .Values.certificates.certManager.enabled) -}}
{{- fail "certificates: set existingSecret (`pysfu cluster certs` makes what it has), or certManager.enabled" -}}
{{- end -}}
{{- if and .Values.certificates.existingSecret .Values.certificates.certManager.enabled -}}
{{- fail "certificates: existingSecret and certManager.enabled are two ways; choose one" -}}
{{- end -}}
{{- if and .Values.certificates.certManager.enabled (not .Values.certificates.certManager.issuerRef.name) -}}
{{- fail "certificates.certManager.issuerRef.name: name the issuer of the cluster's authority" -}}
{{- end -}}
{{- if not (or .Values.nats.urls .Values.nats.bundled.enabled) -}}
{{- fail "nats: set urls, or bundled.enabled" -}}
{{- end -}}
{{- if and .Values.ingress.enabled (not .Values.ingress.host) -}}
{{- fail "ingress.host: name the host" -}}
{{- end -}}
{{- if and .Values.autoscaling.enabled (gt (int .Values.autoscaling.minReplicas) (int .Values.autoscaling.maxReplicas)) -}}
{{- fail "autoscaling: minReplicas is above maxReplicas" -}}
{{- end -}}
{{- end -}}
