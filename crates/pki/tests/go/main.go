// Command conformance lets the tests of podcert-pki ask Go's crypto/x509, the library of the API
// server, the kubelet and most applications. Standard library only. Each line or block on
// standard input gets one line or block on standard output.
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
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"os"
	"strconv"
	"strings"
	"time"
)

func main() {
	if len(os.Args) != 2 {
		fatal(fmt.Errorf("usage: conformance keys|requests|root|verify"))
	}
	var err error
	switch os.Args[1] {
	case "keys":
		err = keys()
	case "requests":
		err = requests()
	case "root":
		err = root()
	case "verify":
		err = verify()
	default:
		err = fmt.Errorf("unknown command %q", os.Args[1])
	}
	if err != nil {
		fatal(err)
	}
}

// verify reads lines "<chain file> <roots file> <server|client> <DNS name or -> <unix time>" and
// answers each with "ok" or what crypto/x509 has against it.
func verify() error {
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		if err := verifyLine(strings.Fields(lines.Text())); err != nil {
			fmt.Println(strings.ReplaceAll(err.Error(), "\n", " "))
		} else {
			fmt.Println("ok")
		}
	}
	return lines.Err()
}

func verifyLine(fields []string) error {
	chain, err := certificates(fields[0])
	if err != nil {
		return err
	}
	roots, err := certificates(fields[1])
	if err != nil {
		return err
	}
	seconds, err := strconv.ParseInt(fields[4], 10, 64)
	if err != nil {
		return err
	}
	options := x509.VerifyOptions{
		Roots:         pool(roots),
		Intermediates: pool(chain[1:]),
		CurrentTime:   time.Unix(seconds, 0),
		KeyUsages:     []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	if fields[2] == "server" {
		options.KeyUsages = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	}
	if fields[3] != "-" {
		options.DNSName = fields[3]
	}
	_, err = chain[0].Verify(options)
	return err
}

func certificates(file string) ([]*x509.Certificate, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	var found []*x509.Certificate
	for block, rest := pem.Decode(data); block != nil; block, rest = pem.Decode(rest) {
		certificate, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, err
		}
		found = append(found, certificate)
	}
	if len(found) == 0 {
		return nil, fmt.Errorf("no certificate in %s", file)
	}
	return found, nil
}

func pool(certificates []*x509.Certificate) *x509.CertPool {
	pool := x509.NewCertPool()
	for _, certificate := range certificates {
		pool.AddCert(certificate)
	}
	return pool
}

// keys writes, for each type of key, a PKCS #8 private key and an empty request signed by it, as
// the kubelet makes them.
func keys() error {
	p256, err1 := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	p384, err2 := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	p521, err3 := ecdsa.GenerateKey(elliptic.P521(), rand.Reader)
	_, edwards, err4 := ed25519.GenerateKey(rand.Reader)
	rsa2048, err5 := rsa.GenerateKey(rand.Reader, 2048)
	rsa3072, err6 := rsa.GenerateKey(rand.Reader, 3072)
	rsa4096, err7 := rsa.GenerateKey(rand.Reader, 4096)
	for _, err := range []error{err1, err2, err3, err4, err5, err6, err7} {
		if err != nil {
			return err
		}
	}
	for _, key := range []crypto.Signer{p256, p384, p521, edwards, rsa2048, rsa3072, rsa4096} {
		der, err := x509.MarshalPKCS8PrivateKey(key)
		if err != nil {
			return err
		}
		request, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, key)
		if err != nil {
			return err
		}
		write("PRIVATE KEY", der)
		write("CERTIFICATE REQUEST", request)
	}
	return nil
}

// requests reads pairs of a private key and a request, and answers "ok" for each pair whose
// request is empty and was signed by the key.
func requests() error {
	data, err := io.ReadAll(os.Stdin)
	if err != nil {
		return err
	}
	for len(bytes.TrimSpace(data)) > 0 {
		var key, request *pem.Block
		if key, data = pem.Decode(data); key == nil {
			return fmt.Errorf("no key")
		}
		if request, data = pem.Decode(data); request == nil {
			return fmt.Errorf("no request")
		}
		if err := checkRequest(key.Bytes, request.Bytes); err != nil {
			fmt.Println(err)
		} else {
			fmt.Println("ok")
		}
	}
	return nil
}

func checkRequest(key, der []byte) error {
	parsed, err := x509.ParsePKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	request, err := x509.ParseCertificateRequest(der)
	if err != nil {
		return err
	}
	if err := request.CheckSignature(); err != nil {
		return err
	}
	public := parsed.(crypto.Signer).Public().(interface{ Equal(crypto.PublicKey) bool })
	if !public.Equal(request.PublicKey) {
		return fmt.Errorf("request is for another key")
	}
	if len(request.Subject.Names) != 0 || len(request.Extensions) != 0 {
		return fmt.Errorf("request is not empty")
	}
	return nil
}

// root writes an Ed25519 CA of the kind meshtool makes: its subject is empty.
func root() error {
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return err
	}
	notBefore := time.Date(2026, 11, 21, 0, 0, 0, 0, time.UTC)
	template := &x509.Certificate{
		SerialNumber:          big.NewInt(time.Now().UnixNano()),
		NotBefore:             notBefore,
		NotAfter:              notBefore.AddDate(0, 0, 365),
		IsCA:                  true,
		BasicConstraintsValid: true,
		KeyUsage:              x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	certificate, err := x509.CreateCertificate(rand.Reader, template, template, public, private)
	if err != nil {
		return err
	}
	key, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return err
	}
	write("PRIVATE KEY", key)
	write("CERTIFICATE", certificate)
	return nil
}

func write(label string, der []byte) {
	if err := pem.Encode(os.Stdout, &pem.Block{Type: label, Bytes: der}); err != nil {
		fatal(err)
	}
}

func fatal(err error) {
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}
