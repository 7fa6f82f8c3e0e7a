package checks

import (
	"crypto/x509"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"netlab.dev/netlab/verify/agent"
	"netlab.dev/netlab/verify/observe"
	"netlab.dev/netlab/verify/report"
	"netlab.dev/netlab/verify/workload"
)

// PodToAPI is the path from a Pod to the API server's Service.
const PodToAPI = "pod-to-api"

// apiName is the server name that clients inside the cluster may expect of the API server.
const apiName = "kubernetes.default.svc"

func api() []Check {
	return []Check{{
		ID: PodToAPI, Section: sectionServices, Grid: gridServices, Title: "Pod → API server by its Service kubernetes.default",
		Rows: func(l Lab) []Row {
			rows := l.fromEach(observe.AtService(workload.ServiceAPI))
			for i := range rows {
				rows[i].Protocol, rows[i].Status = agent.HTTPS, http.StatusOK
			}
			return rows
		},
		Request: func(_ Query, p *agent.Probe) {
			p.Host, p.Target = apiName, p.Target+"version"
		},
		Asserts:  []Assertion{APIServer{}},
		Suspects: []Suspect{apiServer, lostPackets, kubeProxyOfClient},
	}}
}

// apiServer: the API server does not answer netlab either.
func apiServer(c Case) string { return c.State.APIError }

// APIServer asserts that the API server answers, authenticated by the cluster's CA. A client
// without a token gets its version, or 401 where anonymous requests are off.
type APIServer struct{ alone }

func (APIServer) String() string {
	return "the certificate is signed by the cluster's CA for " + apiName + "; the status is 200 or 401"
}

func (APIServer) Judge(s observe.Snapshot, _ Row, got Answers) []report.Property {
	if got[PartMain].Outcome != agent.Reply {
		return nil
	}
	a := got[PartMain].Answers[0]
	status := report.Property{Key: report.KeyStatus, Name: "status", Expected: "200 or 401", Observed: strconv.Itoa(a.Status),
		OK: slices.Contains([]int{http.StatusOK, http.StatusUnauthorized}, a.Status)}
	return append(equal(report.KeyCertificate, "certificate", "signed by the cluster's CA for "+apiName, signer(s, a.Certificate)), status)
}

// signer says by whom an API server's certificate is signed and for which name.
func signer(s observe.Snapshot, c *agent.Certificate) string {
	if c == nil {
		return "none"
	}
	leaf, err := x509.ParseCertificate(c.DER)
	if err != nil {
		return "not a certificate: " + err.Error()
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(s.CA)
	if _, err := leaf.Verify(x509.VerifyOptions{Roots: roots}); err != nil {
		return err.Error()
	}
	if leaf.VerifyHostname(apiName) != nil {
		return "signed by the cluster's CA for " + strings.Join(leaf.DNSNames, " ")
	}
	return "signed by the cluster's CA for " + apiName
}
