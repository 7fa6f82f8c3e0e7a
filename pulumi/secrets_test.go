package pulumi

import (
	"strings"
	"testing"

	pulumirpc "github.com/pulumi/pulumi/sdk/v3/proto/go"

	"netlab.dev/netlab/providers"
)

// Problems, changes and errors quote values of a lab file, but no secret one.
func TestSecretsAreHidden(t *testing.T) {
	s := serve(t)
	said := func(what, text string) {
		t.Helper()
		if strings.Contains(text, "quicksilver") || !strings.Contains(text, hidden) {
			t.Errorf("%s: %s", what, text)
		}
	}
	said("a problem", strings.Join(s.check(t, labType, small+"provider: '!quicksilver'"), "\n"))
	said("a problem that was quoted", strings.Join(s.check(t, labType, small+"cni: {name: '!\"quicksilver\\'}"), "\n"))

	const lab = "metadata: {name: '!quicksilver'}\n"
	outputs, err := s.preview(t, labType, lab)
	if err != nil {
		t.Fatal(err)
	}
	s.diff(t, labType, lab, outputs, small)
	said("a change", strings.Join(*s.said, "\n"))

	s.exists(t, "metadata: {name: quicksilver}\n", providers.PhaseStopped)
	_, err = s.Create(t.Context(), &pulumirpc.CreateRequest{Urn: urn(labType), Properties: marshal(t, properties(t, lab))})
	if err == nil {
		t.Fatal("a lab that exists is created")
	}
	said("an error", strings.Split(err.Error(), ", made from")[0])
	_, err = s.Update(t.Context(), &pulumirpc.UpdateRequest{Id: "quicksilver", Urn: urn(labType), News: marshal(t, properties(t, lab+"hostAccess: true"))})
	if failed := initFailed(err); failed == nil {
		t.Errorf("update: %v", err)
	} else if text := strings.Join(failed.Reasons, "\n"); strings.Contains(text, "quicksilver") {
		t.Errorf("recorded: %s", text)
	}
}

// A secret that is shorter than a word is not taken for its letters elsewhere.
func TestShortSecrets(t *testing.T) {
	var s secrets
	s.learn(properties(t, "a: '!ab'\nb: ['!abc']\nc: {d: '!abcdef'}\ne: other"))
	if got := s.hide("ab abc abcdef other"); got != "ab [secret] [secret] other" {
		t.Error(got)
	}
}
