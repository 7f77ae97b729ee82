{{- define "podcert.labels" -}}
app.kubernetes.io/name: podcert
app.kubernetes.io/component: controller
{{- if ne .Values.nameOverride "podcert-controller" }}
app.kubernetes.io/instance: {{ .Values.nameOverride }}
{{- end }}
{{- end }}
