// SPDX-License-Identifier: Apache-2.0
// Copyright the nodeproxy authors

// A caller in Go, for tls_test.py and mesh_test.py: tls_peer PORT CA VERSION PROTOCOL [CERTIFICATE KEY [IDENTITY]].
// Two requests on connections of their own; prints version, cipher suite, protocol and whether the second was
// resumed.  With an identity it is that URI that the server's certificate must say, in place of a host name.
package main

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
)

func check(err error) {
	if err != nil {
		fmt.Println("error:", err)
		os.Exit(1)
	}
}

func main() {
	pem, err := os.ReadFile(os.Args[2])
	check(err)
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(pem)
	config := &tls.Config{RootCAs: pool, ServerName: "shop.example", MinVersion: tls.VersionTLS12,
		ClientSessionCache: tls.NewLRUClientSessionCache(8)}
	if os.Args[3] == "1.2" {
		config.MaxVersion = tls.VersionTLS12
	}
	if len(os.Args) > 6 {
		pair, err := tls.LoadX509KeyPair(os.Args[5], os.Args[6])
		check(err)
		config.Certificates = []tls.Certificate{pair}
	}
	if len(os.Args) > 7 {
		config.InsecureSkipVerify = true // of names; the chain is verified here
		config.VerifyConnection = func(s tls.ConnectionState) error {
			above := x509.NewCertPool()
			for _, c := range s.PeerCertificates[1:] {
				above.AddCert(c)
			}
			leaf := s.PeerCertificates[0]
			_, err := leaf.Verify(x509.VerifyOptions{Roots: pool, Intermediates: above,
				KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}})
			if err == nil && (len(leaf.URIs) != 1 || leaf.URIs[0].String() != os.Args[7]) {
				err = fmt.Errorf("it is %v", leaf.URIs)
			}
			return err
		}
	}
	var said []string
	for i := 0; i < 2; i++ {
		transport := &http.Transport{TLSClientConfig: config, ForceAttemptHTTP2: os.Args[4] == "h2"}
		if os.Args[4] != "h2" {
			transport.TLSNextProto = map[string]func(string, *tls.Conn) http.RoundTripper{}
		}
		body := strings.NewReader(strings.Repeat("x", 200000))
		req, err := http.NewRequest("POST", "https://127.0.0.1:"+os.Args[1]+"/go", body)
		check(err)
		req.Host = "shop.example"
		resp, err := (&http.Client{Transport: transport}).Do(req)
		check(err)
		_, err = io.Copy(io.Discard, resp.Body)
		check(err)
		resp.Body.Close()
		transport.CloseIdleConnections()
		s := resp.TLS
		said = []string{fmt.Sprint(resp.StatusCode), resp.Proto, fmt.Sprintf("%x", s.Version),
			tls.CipherSuiteName(s.CipherSuite), fmt.Sprint(s.DidResume)}
	}
	fmt.Println(strings.Join(said, " "))
}
