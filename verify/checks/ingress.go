package checks

import (
	"net/http"

	"netlab.dev/netlab/verify/agent"
	"netlab.dev/netlab/verify/observe"
	"netlab.dev/netlab/verify/report"
	"netlab.dev/netlab/verify/workload"
)

// Paths through the ingress controller.
const (
	PodToIngress          = "pod-to-ingress"
	OutsideToIngressHTTP  = "outside-to-ingress-http"
	OutsideToIngressHTTPS = "outside-to-ingress-https"
)

func ingress() []Check {
	rows := func(protocol string) func(Lab) []Row {
		return func(l Lab) []Row {
			why := ""
			switch {
			case !workload.HasIngress(l.Plan):
				why = noIngress
			case l.Plan.Ingress.ProxyProtocol:
				why = onlyProxies
			case len(l.Clients) == 0:
				why = noClient
			}
			if why != "" {
				return []Row{skip("outside client", "Ingress", why)[0].over(protocol)}
			}
			var out []Row
			for _, c := range l.Clients {
				for _, r := range workload.IngressRoutes() {
					out = append(out, reach(observe.AtHost(c), observe.Ref{Kind: report.AtIngress, Name: r.Host + r.Path}).over(protocol))
				}
				unknown := reach(observe.AtHost(c), observe.Ref{Kind: report.AtIngress, Name: workload.UnknownHost + "/"}).over(protocol)
				unknown.Status = http.StatusNotFound
				out = append(out, unknown)
			}
			return out
		}
	}
	suspects := []Suspect{ingressController, ingressBackend, vipAnnouncer, wrongHops, unhealthy, lostPackets}
	return []Check{
		{
			ID: PodToIngress, Section: sectionServices, Title: "Pod → Ingress of its own cluster over HTTP and HTTPS",
			Rows: func(l Lab) []Row {
				if !workload.HasIngress(l.Plan) {
					return skip("Pod", "Ingress", noIngress)
				}
				if l.Plan.Ingress.ProxyProtocol {
					return skip("Pod", "Ingress", onlyProxies)
				}
				first := workload.IngressRoutes()[0]
				to := observe.Ref{Kind: report.AtIngress, Name: first.Host + first.Path}
				return append(l.fromEach(to), reach(l.first(), to).over(agent.HTTPS))
			},
			Request:  virtualHost,
			Asserts:  []Assertion{Backends{}, Certificate{}},
			Suspects: []Suspect{ingressController, ingressBackend, lostPackets, kubeProxyOfClient},
		},
		{
			ID: OutsideToIngressHTTP, Section: sectionFromOutside, Title: "outside host → Ingress over HTTP, two hosts × two paths",
			Rows: rows(agent.HTTP), Request: virtualHost,
			Asserts:  []Assertion{Status{}, Backends{}, VIPAnnounced{}},
			Suspects: suspects,
		},
		{
			ID: OutsideToIngressHTTPS, Section: sectionFromOutside, Title: "outside host → Ingress over HTTPS, two hosts × two paths",
			Rows: rows(agent.HTTPS), Request: virtualHost,
			Asserts:  []Assertion{Status{}, Backends{}, Certificate{}, VIPAnnounced{}},
			Suspects: suspects,
		},
	}
}
