// Command replica shares the work of a SPIFFE signer with podcert as a Go controller does: it keeps a Lease,
// hashes with hash/fnv, and answers what is its own. It says on its output what it does.
package main

import (
	"bytes"
	"crypto"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"flag"
	"fmt"
	"hash/fnv"
	"io"
	"log"
	"math/big"
	"net/http"
	"net/url"
	"os"
	"sort"
	"strings"
	"time"
)

var (
	kubeconfig  = flag.String("kubeconfig", "", "kubeconfig in JSON, with a token")
	api         = flag.String("api", "v1", "version of certificates.k8s.io")
	namespace   = flag.String("namespace", "", "namespace of the Leases")
	name        = flag.String("name", "", "name of the pod")
	uid         = flag.String("uid", "", "UID of the pod")
	application = flag.String("application", "", "whose Leases")
	signer      = flag.String("signer", "", "name of the signer")
	trustDomain = flag.String("trust-domain", "", "of the names in certificates")
	pool        = flag.String("pool", "", "file of the CA pool")
)

const (
	duration  = 15 * time.Second
	renewal   = 10 * time.Second
	pause     = 100 * time.Millisecond
	label     = "rendezvous.row-major.net/application"
	microTime = "2006-01-02T15:04:05.000000Z07:00"
)

type object = map[string]any

func main() {
	log.SetFlags(log.Lmicroseconds)
	flag.Parse()
	server := connect()
	go func() {
		for ; ; time.Sleep(renewal) {
			if err := server.renew(); err != nil {
				log.Printf("lease: %v", err)
			}
		}
	}()
	var live string
	for ; ; time.Sleep(pause) {
		holders, err := server.holders()
		if err != nil {
			log.Printf("leases: %v", err)
			continue
		}
		if now := strings.Join(holders, " "); now != live {
			live = now
			log.Printf("live: %s", live)
		}
		if err := server.work(holders); err != nil {
			log.Printf("work: %v", err)
		}
	}
}

// owner is the holder with the highest hash of item and holder, of two the one whose name comes first.
func owner(item string, holders []string) string {
	best, most := "", uint64(0)
	for _, holder := range holders {
		hash := fnv.New64()
		io.WriteString(hash, item+holder)
		sum := hash.Sum64()
		if best == "" || sum > most || sum == most && holder < best {
			best, most = holder, sum
		}
	}
	return best
}

type server struct {
	url, token string
	client     *http.Client
}

func connect() *server {
	var config struct {
		Clusters []struct {
			Cluster struct {
				Server string `json:"server"`
				Data   []byte `json:"certificate-authority-data"`
				File   string `json:"certificate-authority"`
			} `json:"cluster"`
		} `json:"clusters"`
		Users []struct {
			User struct {
				Token string `json:"token"`
			} `json:"user"`
		} `json:"users"`
	}
	text := must(os.ReadFile(*kubeconfig))
	if err := json.Unmarshal(text, &config); err != nil {
		log.Fatal(err)
	}
	cluster := config.Clusters[0].Cluster
	if cluster.File != "" {
		cluster.Data = must(os.ReadFile(cluster.File))
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(cluster.Data) {
		log.Fatal("no CA of the server")
	}
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}}
	return &server{
		url:    cluster.Server,
		token:  config.Users[0].User.Token,
		client: &http.Client{Transport: transport, Timeout: 10 * time.Second},
	}
}

// call makes a request and gives the code of its answer, which is read into `answer`.
func (s *server) call(method, path string, body, answer any) (int, error) {
	sent, err := json.Marshal(body)
	if err != nil {
		return 0, err
	}
	request, err := http.NewRequest(method, s.url+path, bytes.NewReader(sent))
	if err != nil {
		return 0, err
	}
	request.Header.Set("Authorization", "Bearer "+s.token)
	request.Header.Set("Content-Type", "application/json")
	response, err := s.client.Do(request)
	if err != nil {
		return 0, err
	}
	defer response.Body.Close()
	received, err := io.ReadAll(response.Body)
	if err != nil {
		return 0, err
	}
	if response.StatusCode >= 300 {
		return response.StatusCode, fmt.Errorf("%s %s: %d: %s", method, path, response.StatusCode, received)
	}
	if answer == nil {
		return response.StatusCode, nil
	}
	return response.StatusCode, json.Unmarshal(received, answer)
}

func (s *server) renew() error {
	leases := "/apis/coordination.k8s.io/v1/namespaces/" + *namespace + "/leases"
	now := time.Now().UTC().Format(microTime)
	lease := object{}
	code, err := s.call("GET", leases+"/"+*name, nil, &lease)
	switch {
	case code == http.StatusNotFound:
		lease = object{
			"apiVersion": "coordination.k8s.io/v1",
			"kind":       "Lease",
			"metadata": object{
				"name":      *name,
				"namespace": *namespace,
				"labels":    object{label: *application},
				"ownerReferences": []object{{
					"apiVersion": "v1", "kind": "Pod", "name": *name, "uid": *uid, "controller": true,
				}},
			},
			"spec": object{
				"holderIdentity":       *name,
				"leaseDurationSeconds": int(duration.Seconds()),
				"acquireTime":          now,
				"renewTime":            now,
				"leaseTransitions":     1,
			},
		}
		_, err = s.call("POST", leases, lease, nil)
		return err
	case err != nil:
		return err
	}
	lease["spec"].(object)["renewTime"] = now
	_, err = s.call("PUT", leases+"/"+*name, lease, nil)
	return err
}

// holders are those whose Leases have not run out, by their dates.
func (s *server) holders() ([]string, error) {
	var list struct {
		Items []struct {
			Spec struct {
				HolderIdentity       string    `json:"holderIdentity"`
				LeaseDurationSeconds int       `json:"leaseDurationSeconds"`
				RenewTime            time.Time `json:"renewTime"`
			} `json:"spec"`
		} `json:"items"`
	}
	path := "/apis/coordination.k8s.io/v1/namespaces/" + *namespace + "/leases?labelSelector=" +
		url.QueryEscape(label+"="+*application)
	if _, err := s.call("GET", path, nil, &list); err != nil {
		return nil, err
	}
	var holders []string
	for _, item := range list.Items {
		end := item.Spec.RenewTime.Add(time.Duration(item.Spec.LeaseDurationSeconds) * time.Second)
		if !end.Before(time.Now()) {
			holders = append(holders, item.Spec.HolderIdentity)
		}
	}
	sort.Strings(holders)
	return holders, nil
}

func (s *server) work(holders []string) error {
	cas, err := readPool()
	if err != nil {
		return err
	}
	if owner("maintain-trust-bundles", holders) == *name {
		if err := s.publish(cas); err != nil {
			return err
		}
	}
	var list struct {
		Items []object `json:"items"`
	}
	group := "/apis/certificates.k8s.io/" + *api
	path := group + "/podcertificaterequests?fieldSelector=" + url.QueryEscape("spec.signerName="+*signer)
	if _, err := s.call("GET", path, nil, &list); err != nil {
		return err
	}
	for _, item := range list.Items {
		metadata := item["metadata"].(object)
		where := metadata["namespace"].(string) + "/" + metadata["name"].(string)
		if status, ok := item["status"].(object); ok && status["conditions"] != nil {
			continue
		}
		if owner(where, holders) != *name {
			continue
		}
		status, err := issue(item["spec"].(object), metadata["namespace"].(string), cas[0])
		if err != nil {
			log.Printf("cannot answer %s: %v", where, err)
			continue
		}
		item["apiVersion"], item["kind"], item["status"] = "certificates.k8s.io/"+*api, "PodCertificateRequest", status
		path := fmt.Sprintf("%s/namespaces/%s/podcertificaterequests/%s/status",
			group, metadata["namespace"], metadata["name"])
		if _, err := s.call("PUT", path, item, nil); err != nil {
			log.Printf("refused: %v", err)
			continue
		}
		log.Printf("answered: %s", where)
	}
	return nil
}

func (s *server) publish(cas []ca) error {
	var anchors string
	for _, ca := range cas {
		anchors += string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: ca.Root}))
	}
	path := "/apis/certificates.k8s.io/" + *api + "/clustertrustbundles"
	bundle := strings.ReplaceAll(*signer, "/", ":") + ":primary-bundle"
	known := object{}
	code, err := s.call("GET", path+"/"+bundle, nil, &known)
	if code == http.StatusNotFound {
		_, err = s.call("POST", path, object{
			"apiVersion": "certificates.k8s.io/" + *api,
			"kind":       "ClusterTrustBundle",
			"metadata":   object{"name": bundle},
			"spec":       object{"signerName": *signer, "trustBundle": anchors},
		}, nil)
	} else if spec, ok := known["spec"].(object); err == nil && ok && spec["trustBundle"] != anchors {
		spec["trustBundle"] = anchors
		_, err = s.call("PUT", path+"/"+bundle, known, nil)
	} else {
		return err
	}
	if err == nil {
		log.Printf("published: %d", len(cas))
	}
	return err
}

type ca struct {
	Key  []byte `json:"SigningKeyPKCS8"`
	Root []byte `json:"RootCertificateDER"`
}

func readPool() ([]ca, error) {
	text, err := os.ReadFile(*pool)
	if err != nil {
		return nil, err
	}
	var pool struct{ CAs []ca }
	if err := json.Unmarshal(text, &pool); err != nil {
		return nil, err
	}
	if len(pool.CAs) == 0 {
		return nil, fmt.Errorf("an empty pool")
	}
	return pool.CAs, nil
}

// issue gives the status of a request that is answered with a certificate.
func issue(spec object, namespace string, ca ca) (object, error) {
	key, err := requested(spec)
	if err != nil {
		return nil, err
	}
	root, err := x509.ParseCertificate(ca.Root)
	if err != nil {
		return nil, err
	}
	signing, err := x509.ParsePKCS8PrivateKey(ca.Key)
	if err != nil {
		return nil, err
	}
	id, err := url.Parse(fmt.Sprintf("spiffe://%s/ns/%s/sa/%s", *trustDomain, namespace, spec["serviceAccountName"]))
	if err != nil {
		return nil, err
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, err
	}
	begin := time.Now().UTC().Truncate(time.Second).Add(-2 * time.Minute)
	end := begin.Add(24 * time.Hour)
	template := &x509.Certificate{
		SerialNumber:          serial,
		NotBefore:             begin,
		NotAfter:              end,
		BasicConstraintsValid: true,
		KeyUsage:              x509.KeyUsageDigitalSignature,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth},
		URIs:                  []*url.URL{id},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, root, key, signing)
	if err != nil {
		return nil, err
	}
	date := func(at time.Time) string { return at.Format(time.RFC3339) }
	return object{
		"conditions": []object{{
			"type": "Issued", "status": "True", "reason": "Reason", "message": "Issued",
			"lastTransitionTime": date(time.Now().UTC()),
		}},
		"certificateChain": string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})),
		"notBefore":        date(begin),
		"beginRefreshAt":   date(end.Add(-30 * time.Minute)),
		"notAfter":         date(end),
	}, nil
}

// requested is the key of a request: in a CSR, or before 1.36 alone.
func requested(spec object) (crypto.PublicKey, error) {
	if stub, ok := spec["stubPKCS10Request"].(string); ok {
		der, err := base64.StdEncoding.DecodeString(stub)
		if err != nil {
			return nil, err
		}
		request, err := x509.ParseCertificateRequest(der)
		if err != nil {
			return nil, err
		}
		return request.PublicKey, nil
	}
	text, _ := spec["pkixPublicKey"].(string)
	der, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		return nil, err
	}
	return x509.ParsePKIXPublicKey(der)
}

func must(content []byte, err error) []byte {
	if err != nil {
		log.Fatal(err)
	}
	return content
}
