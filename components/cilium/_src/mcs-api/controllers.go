// Package controllers stands for sigs.k8s.io/mcs-api/controllers, a module that the
// module proxy does not have and of which Cilium uses this one name.
package controllers

// DerivedServiceAnnotation names the Service that stands for an imported one, by the
// Multi-Cluster Services API (KEP 1645).
const DerivedServiceAnnotation = "multicluster.kubernetes.io/derived-service"
