// The program that holds a pod's namespaces while its containers come and go.
module podcert.dev/e2e/pause

go 1.26.0
