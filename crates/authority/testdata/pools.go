// Makes CA pools as meshtool does, and reads them as Go does. Run by podcert-authority's tests:
//
//	go run pools.go make DIR     writes one pool per case into DIR (also how the files here were made)
//	go run pools.go decode       reads lines of base64, writes for each what encoding/json makes of it
//	go run pools.go load         reads pools, one a line, loads them as meshtool does, writes "ok" for each
//	go run pools.go new ID       writes the pool that meshtool's make-ca-pool-secret stores, valid from now on
package main

import (
	"bufio"
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"time"
)

// The structs of meshtool's lib/localca.
type pool struct {
	CAs []ca
}

type ca struct {
	ID                          string
	SigningKeyPKCS8             []byte
	RootCertificateDER          []byte
	IntermediateCertificatesDER [][]byte
}

var (
	notBefore = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	notAfter  = time.Date(2036, 1, 1, 0, 0, 0, 0, time.UTC)
	serial    = int64(0)
)

func check[T any](value T, err error) T {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	return value
}

// As meshtool's: no subject, and digitalSignature beside certSign.
func meshtoolTemplate() *x509.Certificate {
	return &x509.Certificate{
		NotBefore:             notBefore,
		NotAfter:              notAfter,
		BasicConstraintsValid: true,
		IsCA:                  true,
		KeyUsage:              x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
}

func template(name string) *x509.Certificate {
	serial++
	return &x509.Certificate{
		Subject:               pkix.Name{CommonName: name, OrganizationalUnit: []string{"one", "two"}},
		SerialNumber:          big.NewInt(serial),
		NotBefore:             notBefore,
		NotAfter:              notAfter,
		BasicConstraintsValid: true,
		IsCA:                  true,
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
}

func issue(subject, issuer *x509.Certificate, key crypto.Signer, issuerKey crypto.Signer) *x509.Certificate {
	return check(x509.ParseCertificate(check(x509.CreateCertificate(rand.Reader, subject, issuer, key.Public(), issuerKey))))
}

func ed25519Key() crypto.Signer {
	_, key, err := ed25519.GenerateKey(rand.Reader)
	return check(key, err)
}

func ecdsaKey(curve elliptic.Curve) crypto.Signer {
	return check(ecdsa.GenerateKey(curve, rand.Reader))
}

func pkcs8(key crypto.Signer) []byte {
	return check(x509.MarshalPKCS8PrivateKey(key))
}

func meshtoolPool(key crypto.Signer) pool {
	t := meshtoolTemplate()
	root := issue(t, t, key, key)
	return pool{CAs: []ca{{ID: "1", SigningKeyPKCS8: pkcs8(key), RootCertificateDER: root.Raw}}}
}

// What meshtool makes for whoever asks: Ed25519, for a year from now.
func newPool(id string) {
	key, t := ed25519Key(), meshtoolTemplate()
	t.NotBefore = time.Now()
	t.NotAfter = t.NotBefore.AddDate(0, 0, 365)
	root := issue(t, t, key, key)
	made := pool{CAs: []ca{{ID: id, SigningKeyPKCS8: pkcs8(key), RootCertificateDER: root.Raw}}}
	os.Stdout.Write(check(json.Marshal(made)))
}

// A root, two intermediates below one another; the key is the lower one's.
func intermediatePool(pathLen int, order func(upper, lower []byte) [][]byte) pool {
	rootKey, upperKey, lowerKey := ecdsaKey(elliptic.P384()), ecdsaKey(elliptic.P256()), ed25519Key()
	t := template("root")
	root := issue(t, t, rootKey, rootKey)
	t = template("upper")
	t.MaxPathLen, t.MaxPathLenZero = pathLen, pathLen == 0
	upper := issue(t, root, upperKey, rootKey)
	lower := issue(template("lower"), upper, lowerKey, upperKey)
	return pool{CAs: []ca{{
		ID:                          "intermediate",
		SigningKeyPKCS8:             pkcs8(lowerKey),
		RootCertificateDER:          root.Raw,
		IntermediateCertificatesDER: order(upper.Raw, lower.Raw),
	}}}
}

// The intermediate begins when the root has ended.
func neverValidPool() pool {
	rootKey, key := ed25519Key(), ed25519Key()
	t := template("root")
	root := issue(t, t, rootKey, rootKey)
	t = template("late")
	t.NotBefore, t.NotAfter = notAfter.AddDate(1, 0, 0), notAfter.AddDate(2, 0, 0)
	late := issue(t, root, key, rootKey)
	return pool{CAs: []ca{{ID: "late", SigningKeyPKCS8: pkcs8(key), RootCertificateDER: root.Raw,
		IntermediateCertificatesDER: [][]byte{late.Raw}}}}
}

// Names say the root issued the intermediate, its signature says another did.
func forgedPool() pool {
	rootKey, otherKey, key := ed25519Key(), ed25519Key(), ed25519Key()
	t := template("root")
	t.SubjectKeyId = []byte{1, 2, 3}
	root := issue(t, t, rootKey, rootKey)
	other := issue(t, t, otherKey, otherKey)
	forged := issue(template("forged"), other, key, otherKey)
	return pool{CAs: []ca{{ID: "forged", SigningKeyPKCS8: pkcs8(key), RootCertificateDER: root.Raw,
		IntermediateCertificatesDER: [][]byte{forged.Raw}}}}
}

func uriConstraintsPool() pool {
	key := ed25519Key()
	t := template("constrained")
	t.PermittedURIDomains = []string{"cluster.local"}
	root := issue(t, t, key, key)
	return pool{CAs: []ca{{ID: "uri", SigningKeyPKCS8: pkcs8(key), RootCertificateDER: root.Raw}}}
}

func noCertSignPool() pool {
	key := ed25519Key()
	t := template("mute")
	t.KeyUsage = x509.KeyUsageCRLSign
	root := check(x509.CreateCertificate(rand.Reader, t, t, key.Public(), key))
	return pool{CAs: []ca{{ID: "mute", SigningKeyPKCS8: pkcs8(key), RootCertificateDER: root}}}
}

func rsaKey(bits int) crypto.Signer {
	return check(rsa.GenerateKey(rand.Reader, bits))
}

func makePools(dir string) {
	chainOrder := func(upper, lower []byte) [][]byte { return [][]byte{lower, upper} }
	otherOrder := func(upper, lower []byte) [][]byte { return [][]byte{upper, lower} }
	for name, pool := range map[string]pool{
		"ed25519":         meshtoolPool(ed25519Key()),
		"ecdsap256":       meshtoolPool(ecdsaKey(elliptic.P256())),
		"ecdsap384":       meshtoolPool(ecdsaKey(elliptic.P384())),
		"ecdsap521":       meshtoolPool(ecdsaKey(elliptic.P521())),
		"rsa2048":         meshtoolPool(rsaKey(2048)),
		"rsa3072":         meshtoolPool(rsaKey(3072)),
		"rsa4096":         meshtoolPool(rsaKey(4096)),
		"chain-order":     intermediatePool(-1, chainOrder),
		"other-order":     intermediatePool(-1, otherOrder),
		"path-too-long":   intermediatePool(0, chainOrder),
		"never-valid":     neverValidPool(),
		"forged":          forgedPool(),
		"uri-constraints": uriConstraintsPool(),
		"no-cert-sign":    noCertSignPool(),
	} {
		if err := os.WriteFile(filepath.Join(dir, name+".json"), check(json.Marshal(pool)), 0o600); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
}

// nil and empty are the same to us.
func normalize(p *pool) {
	notNil := func(b []byte) []byte { return append([]byte{}, b...) }
	if len(p.CAs) == 0 {
		p.CAs = nil
	}
	for i := range p.CAs {
		c := &p.CAs[i]
		c.SigningKeyPKCS8, c.RootCertificateDER = notNil(c.SigningKeyPKCS8), notNil(c.RootCertificateDER)
		if len(c.IntermediateCertificatesDER) == 0 {
			c.IntermediateCertificatesDER = nil
		}
		for j := range c.IntermediateCertificatesDER {
			c.IntermediateCertificatesDER[j] = notNil(c.IntermediateCertificatesDER[j])
		}
	}
}

func decode() {
	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(nil, 1<<20)
	out := bufio.NewWriter(os.Stdout)
	defer out.Flush()
	for lines.Scan() {
		text := check(base64.StdEncoding.AppendDecode(nil, bytes.TrimSpace(lines.Bytes())))
		var p pool
		if err := json.Unmarshal(text, &p); err != nil {
			fmt.Fprintln(out, "error")
			continue
		}
		normalize(&p)
		fmt.Fprintf(out, "%s\n", check(json.Marshal(p)))
	}
}

// Loads a pool as meshtool does, lets its CAs sign, and compares what it would write.
func loadPool(text []byte) error {
	var p pool
	if err := json.Unmarshal(text, &p); err != nil {
		return err
	}
	for _, c := range p.CAs {
		key, err := x509.ParsePKCS8PrivateKey(c.SigningKeyPKCS8)
		if err != nil {
			return err
		}
		root, err := x509.ParseCertificate(c.RootCertificateDER)
		if err != nil {
			return err
		}
		if err := root.CheckSignatureFrom(root); err != nil {
			return err
		}
		template := &x509.Certificate{NotBefore: root.NotBefore, NotAfter: root.NotAfter, DNSNames: []string{"a.b.svc"}}
		leafKey := ed25519Key()
		der, err := x509.CreateCertificate(rand.Reader, template, root, leafKey.Public(), key)
		if err != nil {
			return err
		}
		leaf, err := x509.ParseCertificate(der)
		if err != nil {
			return err
		}
		roots := x509.NewCertPool()
		roots.AddCert(root)
		options := x509.VerifyOptions{Roots: roots, DNSName: "a.b.svc", CurrentTime: root.NotBefore.Add(time.Hour)}
		if _, err := leaf.Verify(options); err != nil {
			return err
		}
	}
	written, err := json.Marshal(p)
	if err != nil {
		return err
	}
	if !bytes.Equal(written, text) {
		return fmt.Errorf("Go writes other bytes: %s", written)
	}
	return nil
}

func load() {
	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		if err := loadPool(lines.Bytes()); err != nil {
			fmt.Println(err)
		} else {
			fmt.Println("ok")
		}
	}
}

func main() {
	switch {
	case len(os.Args) == 3 && os.Args[1] == "make":
		makePools(os.Args[2])
	case len(os.Args) == 2 && os.Args[1] == "decode":
		decode()
	case len(os.Args) == 2 && os.Args[1] == "load":
		load()
	case len(os.Args) == 3 && os.Args[1] == "new":
		newPool(os.Args[2])
	default:
		fmt.Fprintln(os.Stderr, "usage: pools.go make DIR | decode | load | new ID")
		os.Exit(2)
	}
}
