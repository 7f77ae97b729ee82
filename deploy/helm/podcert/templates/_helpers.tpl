{{- define "podcert.labels" -}}
app.kubernetes.io/name: podcert
app.kubernetes.io/component: controller
{{- if ne .Values.nameOverride "podcert-controller" }}
app.kubernetes.io/instance: {{ quote .Values.nameOverride }}
{{- end }}
{{- end }}

{{- /* A signer that the rights are not for would have every certificate refused. */}}
{{- define "podcert.checkSigners" -}}
{{- range .Values.extraArgs }}
{{- if regexMatch "^--?[a-z-]+-signer-name=" . }}
{{- $name := regexReplaceAll "^[^=]*=" . "" }}
{{- $domain := printf "%s/*" (regexReplaceAll "/.*" $name "") }}
{{- if not (or (has $name $.Values.signerNames) (has $domain $.Values.signerNames)) }}
{{- fail (printf "%s is among extraArgs: signerNames must have %q" . $name) }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}

{{- define "podcert.image" -}}
{{- with .Values.image }}
{{- if .digest }}
{{- printf "%s@%s" .repository .digest }}
{{- else }}
{{- printf "%s:%s" .repository (.tag | default $.Chart.AppVersion) }}
{{- end }}
{{- end }}
{{- end }}
