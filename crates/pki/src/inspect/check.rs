//! The table of checks: each one's stable name, how bad it is, and what to do about it.
//!
//! `docs/inspect.md` has a row for each; a test compares the two.

use std::fmt;

/// How bad a finding is.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Severity {
    /// It works with most software today, and should be changed.
    Warning,
    /// Verifiers refuse it, or what it is for does not work.
    Error,
}

impl Severity {
    /// Its name in output.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

macro_rules! checks {
    ($($name:ident $severity:ident $what:literal => $cure:literal;)*) => {
        /// Something that is looked for. The names are stable: scripts may rely on them.
        #[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
        #[non_exhaustive]
        pub enum Check {
            $(#[doc = $what] $name,)*
        }

        impl Check {
            /// Every check.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// Its stable name.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$name => stringify!($name),)*
                }
            }

            /// How bad it is.
            #[must_use]
            pub fn severity(self) -> Severity {
                match self {
                    $(Self::$name => Severity::$severity,)*
                }
            }

            /// What it means when it is found.
            #[must_use]
            pub fn meaning(self) -> &'static str {
                match self {
                    $(Self::$name => $what,)*
                }
            }

            /// What to do about it.
            #[must_use]
            pub fn cure(self) -> &'static str {
                match self {
                    $(Self::$name => $cure,)*
                }
            }
        }
    };
}

checks! {
    // Time.
    Expired Error
        "a certificate's validity is over"
        => "get a new certificate; for a pod's, see why the kubelet did not refresh it";
    NotYetValid Error
        "a certificate is valid only later"
        => "compare the clocks of this machine and of the issuer, or wait";
    ValidityReversed Error
        "a certificate ends before it begins"
        => "issue it again; it is never valid";
    ExpiredAnchor Warning
        "an anchor of a bundle has expired, others have not"
        => "remove it from the bundle once no certificate in use needs it";
    RefreshOverdue Warning
        "the time at which the kubelet replaces the certificate is past"
        => "look at the pod's newer requests and its events: renewal does not come through";
    OutlivesIssuer Warning
        "a certificate ends after the one that issued it"
        => "issue for no longer than the whole chain lives; it fails when the issuer ends";

    // Keys and signatures.
    WeakKey Error
        "an RSA key of fewer than 2048 bits"
        => "make a new key: ECDSA P-256, or RSA of 3072 bits";
    UnusualKey Warning
        "a key of a type Kubernetes and podcert do not sign for"
        => "use ECDSA P-256, P-384 or P-521, Ed25519, or RSA of 2048, 3072 or 4096 bits";
    MalformedKey Error
        "the public key is not one (a point off its curve, an even modulus)"
        => "issue the certificate again from the right key";
    WeakSignature Error
        "a certificate signed with SHA-1 or MD5"
        => "issue it again with SHA-256 or better; verifiers refuse this signature";
    WeakRootSignature Warning
        "a root that signed itself with SHA-1 or MD5"
        => "nobody checks a root's own signature, but replace the old root some day";
    WrongSignature Error
        "a signature is not that of the key it should be of"
        => "the file is damaged, or mixes two CAs of one name: fetch the certificates again";

    // Names.
    EmptyCaSubject Warning
        "a CA without a subject, as meshtool makes them"
        => "rotate to a CA with a name: RFC 5280 requires one, and OpenSSL confuses such CAs";
    NoName Error
        "a leaf that names nobody: no subjectAltName"
        => "issue it with DNS names or a URI; the common name is no longer looked at";
    SanNotCritical Error
        "an empty subject with a subjectAltName that is not critical"
        => "mark the subjectAltName critical (RFC 5280 section 4.2.1.6)";
    BadDnsName Warning
        "a DNS name that is no host name"
        => "issue for lower-case host names; verifiers never match this one";
    MultipleUris Error
        "several URIs where one is a SPIFFE ID"
        => "one URI per X509-SVID: verifiers refuse more (X509-SVID section 2)";
    BadSpiffeId Error
        "a spiffe: URI that is not a SPIFFE ID"
        => "correct the ID: lower-case trust domain, no empty or relative segments, no escapes";
    SpiffeIdWithoutPath Error
        "a leaf with the SPIFFE ID of a whole trust domain"
        => "give the workload a path, such as /ns/NAMESPACE/sa/SERVICE-ACCOUNT";
    SpiffeCaPath Warning
        "a CA whose SPIFFE ID has a path"
        => "a signing certificate is spiffe://TRUST-DOMAIN without a path, or has no ID";

    // What it may do.
    NotCa Error
        "a certificate that must be a CA's and is not (basicConstraints)"
        => "take the CA's own certificate; this one signs nothing that verifies";
    CaAsLeaf Error
        "a CA's certificate where a leaf belongs"
        => "put the leaf first; a CA's certificate must not authenticate a workload";
    CaMayNotSign Error
        "a CA whose keyUsage lacks keyCertSign"
        => "make the CA's certificate again with keyCertSign";
    LeafMaySign Error
        "a leaf whose keyUsage has keyCertSign or cRLSign"
        => "issue it with digitalSignature alone";
    CaDigitalSignature Warning
        "a CA with the keyUsage digitalSignature, as meshtool makes them"
        => "rotate to a CA with keyCertSign and cRLSign alone (X509-SVID appendix A)";
    ConstraintsNotCritical Warning
        "a CA whose basicConstraints are not critical"
        => "make the CA's certificate again: RFC 5280 section 4.2.1.9 wants it critical";
    NoKeyUsage Warning
        "a CA without keyUsage"
        => "make the CA's certificate again with a critical keyUsage";
    SpiffeKeyUsage Error
        "an SVID whose keyUsage does not allow digital signatures"
        => "issue it with a critical keyUsage of digitalSignature";
    NoTlsUsage Warning
        "an extended key usage with neither serverAuth nor clientAuth"
        => "issue it for serverAuth, clientAuth or both; TLS refuses it as it is";
    SpiffeExtKeyUsage Warning
        "an SVID that is not for both serverAuth and clientAuth"
        => "issue it for both, or without extended key usage (X509-SVID section 4.4)";
    UriConstraints Warning
        "a CA with name constraints on URIs"
        => "make the CA without them: rustls refuses every SPIFFE certificate below it";
    UnknownCriticalExtension Error
        "a critical extension that verifiers do not know"
        => "issue it without, or not critical: a verifier must refuse what it does not know";
    NoAuthorityKeyId Warning
        "no authorityKeyIdentifier, though another certificate issued it"
        => "issue it with one: verifiers tell CAs of the same name apart by it";
    NoSubjectKeyId Warning
        "a CA without subjectKeyIdentifier"
        => "make the CA's certificate again with one (RFC 5280 section 4.2.1.2)";
    BadSerial Warning
        "a serial number of zero or longer than 20 bytes"
        => "issue it with a random serial number of 16 bytes";

    // Several certificates.
    WrongOrder Error
        "a chain that would be right in another order"
        => "put the leaf first, then each one's issuer";
    IssuerMismatch Error
        "a certificate of a chain that the next one did not issue"
        => "put the certificate of its issuer after it, or leave out what does not belong";
    PathTooLong Error
        "more CAs below one than its pathLen allows"
        => "leave out intermediates, or make the CA with a larger pathLen";
    RootInChain Warning
        "a chain that ends with a self-signed root"
        => "leave the root out: peers have their own copy and never use the one sent";
    DuplicateCertificate Warning
        "a certificate that is in a chain twice"
        => "leave the second one out";
    DuplicateAnchor Error
        "an anchor that is in a bundle twice"
        => "leave the second one out: the API server refuses such a ClusterTrustBundle";
    AnchorNotSelfSigned Warning
        "an anchor that another certificate issued"
        => "publish the root, or know that OpenSSL needs -partial_chain for this anchor";

    // The file.
    PemHeaders Error
        "a CERTIFICATE block with headers"
        => "remove the lines with colons: the API server and strict readers refuse them";
    OtherPemBlock Error
        "a block that is neither a certificate nor a private key"
        => "remove it: the API server takes CERTIFICATE blocks only";
    UnexpectedPrivateKey Error
        "a private key in what is to be published"
        => "remove it, and replace the key if the file was ever readable to others";
    KeyFormat Error
        "a private key that is encrypted, not PKCS #8, or of no known type"
        => "write it as plain PKCS #8 (openssl pkcs8 -topk8 -nocrypt), of a type Kubernetes knows";
    KeyMismatch Error
        "a credential bundle whose key is not the leaf's"
        => "read key and chain from one file or generation; they were mixed";
    KeyNotFirst Warning
        "a credential bundle whose key is not its first block"
        => "put the key first, as the kubelet writes it";
    SeveralPrivateKeys Error
        "a credential bundle with more than one private key"
        => "keep the leaf's key only";
    NoPrivateKey Error
        "a credential bundle without a private key"
        => "put the leaf's key first, as plain PKCS #8";
    NoCertificate Error
        "a credential bundle without a certificate"
        => "append the chain, the leaf first";
    UnusedIntermediate Warning
        "an intermediate of a CA pool that does not lead to the root"
        => "remove it from the pool; it is left out of chains";
    PoolUnusable Error
        "a CA pool the controller would refuse"
        => "correct what the message names; the controller keeps its last good pool";
    SpiffeBundleKeys Error
        "an entry of a SPIFFE bundle with other than one x5c certificate"
        => "publish one certificate per entry: go-spiffe refuses the bundle otherwise";
}
