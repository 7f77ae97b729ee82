// A Go replica of a signer, for podcert to share its work with.
module podcert.dev/e2e/replica

go 1.21
