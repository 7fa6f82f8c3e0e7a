package observetest

import (
	"crypto/ed25519"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"time"
)

// certificates gives a cluster's CA in PEM and its API server's certificate in DER, each
// time the same.
func certificates() (ca, leaf []byte) {
	key := ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize))
	root := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "kubernetes"}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign, NotAfter: time.Unix(1<<33, 0)}
	server := &x509.Certificate{SerialNumber: big.NewInt(2), DNSNames: []string{"kubernetes.default.svc"}, NotAfter: root.NotAfter,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}
	sign := func(c *x509.Certificate) []byte {
		der, err := x509.CreateCertificate(nil, c, root, key.Public(), key)
		if err != nil {
			panic(err)
		}
		return der
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: sign(root)}), sign(server)
}
