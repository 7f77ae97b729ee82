{{- define "podcert.labels" -}}
app.kubernetes.io/name: podcert
app.kubernetes.io/component: controller
{{- if ne .Values.nameOverride "podcert-controller" }}
app.kubernetes.io/instance: {{ quote .Values.nameOverride }}
{{- end }}
{{- end }}

{{- /* A signer that the rights are not for would have every certificate refused: the names that extraArgs give, and
those of enabled signers that they do not rename. */}}
{{- define "podcert.checkSigners" -}}
{{- $kinds := dict "service-dns" .Values.signers.serviceDns.enabled "spiffe" .Values.signers.spiffe.enabled "pod-identity" .Values.signers.podIdentity.enabled }}
{{- range $kind, $enabled := $kinds }}
{{- if $enabled }}
{{- $name := printf "row-major.net/%s" $kind }}
{{- $given := false }}
{{- range $.Values.extraArgs }}
{{- if regexMatch (printf "^--?%s-signer-name=" $kind) . }}
{{- $name = regexReplaceAll "^[^=]*=" . "" }}
{{- $given = true }}
{{- end }}
{{- end }}
{{- $domain := printf "%s/*" (regexReplaceAll "/.*" $name "") }}
{{- if not (or (has $name $.Values.signerNames) (has $domain $.Values.signerNames)) }}
{{- if $given }}
{{- fail (printf "--%s-signer-name=%s is among extraArgs: signerNames must have %q" $kind $name $name) }}
{{- end }}
{{- fail (printf "signerNames must have %q, the name of the signer %s; or rename that by extraArgs, or switch it off" $name $kind) }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}

{{- /* The container's port, its probes and the NetworkPolicy have the port of the default. */}}
{{- define "podcert.checkArgs" -}}
{{- range .Values.extraArgs }}
{{- if and (regexMatch "^--?listen(=|$)" .) (not (regexMatch "=(0\\.0\\.0\\.0|\\[::\\])?:8080$" .)) }}
{{- fail (printf "%s is among extraArgs: the probes ask for port 8080" .) }}
{{- end }}
{{- if regexMatch "^--?[a-z-]+-signer-name$" . }}
{{- fail (printf "%s is among extraArgs: write it with its name in one, as %s=DOMAIN/PATH" . .) }}
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
