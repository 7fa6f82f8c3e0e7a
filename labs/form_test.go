package labs_test

import (
	"testing"

	"netlab.dev/netlab/labs"
	"netlab.dev/netlab/labs/labstest"
)

// TestForm: wrong names and types are reported; missing and contradicting values are not.
func TestForm(t *testing.T) {
	for text, want := range map[string]string{
		"": "",
		"networks: [{cidr: 10.0.0.0/24}]\nnodes: [{name: w, networks: [lan]}]": "",
		"nods: []":              "nods: unknown field; did you mean nodes?",
		"hostAccess: 3":         "hostAccess: expected true or false, got number 3",
		"networks: [{cidr: 1}]": "networks[0].cidr: expected a CIDR, got number 1",
	} {
		got := ""
		if problems := labs.Form([]byte("apiVersion: netlab/v1alpha1\nkind: Lab\n"+text), labstest.Known()); len(problems) > 0 {
			got = labs.Problem{Field: problems[0].Field, What: problems[0].What, Hint: problems[0].Hint}.Error()
		}
		if got != want {
			t.Errorf("%s: %q, want %q", text, got, want)
		}
	}
}
