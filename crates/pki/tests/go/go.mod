module podcert/conformance

go 1.21
